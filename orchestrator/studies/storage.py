"""Optuna's storage: opened once under a lock, and held by one process at a time while it takes its next trial."""

from __future__ import annotations

import contextlib
import os
import platform
import sqlite3
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.errors import StudyError, TrackingError, Unreachable, first_line, without_password
from orchestrator.tracking import failures
from orchestrator.tracking.looking import OPTUNA, database, look
from orchestrator.tracking.store import refuse_unclear

DEFAULT = "sqlite:///optuna.db"
HEARTBEAT, GRACE = 60, 300
"""Seconds between signs of life of a trial, and without one until it counts as dead."""

FROM = "forked_from"
"""Attribute of a study, of a trial and of a run that was copied: where from."""

OURS = {"definition", FROM}
"""Attributes of which each study of this program has one at least, as soon as it has a trial."""

KEY = 5_050_211
"""Of the lock that PostgreSQL keeps for us."""

PATIENCE: dict[str, Any] = {"connect_args": {"connect_timeout": 5}}
"""With a database server, in seconds."""

Storage = optuna.storages.RDBStorage

Dead = Callable[[Mapping[str, Any]], bool]
"""Whether the process that a trial or a run is known to be in has ended."""

optuna.logging.set_verbosity(optuna.logging.ERROR)  # failures are told by us, without tracebacks


@dataclass(frozen=True)
class State:
    """How far a study is for one network: trials by their state, and the best value so far."""

    study: str
    architecture: str
    complete: int
    stopped: int
    waiting: int
    running: int
    failed: int
    best: float | None


def connect(url: str = DEFAULT) -> Storage:
    """Open Optuna's storage, made on first use under a lock.

    Raises:
        StudyError: it cannot be opened.
        Unreachable: its server does not answer. Neither message tells its password.
    """
    path = database(url)
    refuse_unclear(url)
    if path is None and not url.startswith("postgresql"):
        told = without_password(url)
        raise StudyError(f"{told}: cannot open this Optuna storage (allowed: sqlite:///FILE, postgresql://…)")
    try:
        look(url, OPTUNA, Path(optuna.__file__).parent / "storages" / "_rdb" / "alembic")
        with quiet(), FileLock(f"{path}.lock") if path else _alone(url):
            storage = Storage(
                url,
                engine_kwargs={} if path else PATIENCE,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
            )
            if path:
                with sqlite3.connect(path) as connection:
                    connection.execute("PRAGMA journal_mode=WAL")
            return storage
    except TrackingError as error:
        raise StudyError(str(error)) from None
    except (SQLAlchemyError, OptunaError, OSError, RuntimeError, ImportError, sqlite3.Error, ValueError) as error:
        failed = failures.told(error)
        kind = Unreachable if isinstance(failed, Unreachable) else StudyError
        reason = failed or first_line(error)
        raise kind(without_password(f"{url}: cannot open this Optuna storage: {reason}")) from None


@contextlib.contextmanager
def _alone(url: str) -> Iterator[None]:
    """Be the only process that opens a database: several that make its tables at once would fail."""
    engine = create_engine(url, poolclass=NullPool, **PATIENCE)
    with engine.connect() as connection:  # whose end is the lock's
        connection.execute(text(f"SELECT pg_advisory_lock({KEY + 1})"))
        yield


class Claim:
    """The right to take the next trial, which one process has at a time: all that work on a storage agree on it."""

    def __init__(self, storage: Storage) -> None:
        path = database(storage.url)
        self._file = FileLock(f"{path}.claim") if path else None
        self._engine = storage.engine
        self._connection: Any = None
        self._held = False

    def take(self) -> None:
        """Wait for it."""
        if self._file:
            self._file.acquire()
        else:
            self._connection = self._engine.connect()
            self._connection.execute(text(f"SELECT pg_advisory_lock({KEY})"))
        self._held = True

    def give_back(self) -> None:
        """Let others have it; twice does no harm."""
        if not self._held:
            return
        self._held = False
        if self._file:
            self._file.release()
        else:
            with contextlib.closing(self._connection) as connection:
                connection.execute(text(f"SELECT pg_advisory_unlock({KEY})"))


def requeue(searched: optuna.Study, dead: Dead | None = None) -> None:
    """Queue again what was interrupted: by Ctrl-C, or by the end of a process of this machine or of another.

    Args:
        searched: the study.
        dead: tells whether a process is; by default `is_dead`.
    """
    dead = dead or is_dead
    with quiet():
        optuna.storages.fail_stale_trials(searched)
    trials = searched.get_trials(deepcopy=False)
    again = {trial.user_attrs.get("again") for trial in trials} | {
        trial.user_attrs.get("failed_trial") for trial in trials
    }
    for trial in trials:
        if trial.state == TrialState.RUNNING and dead(trial.user_attrs):
            searched.tell(trial.number, state=TrialState.FAIL)
        elif trial.state != TrialState.FAIL or gave_up(trial):
            continue
        if trial.number not in again:
            kept = {key: each for key, each in trial.user_attrs.items() if key in ("origin", "until")}
            searched.enqueue_trial(trial.params, user_attrs={"origin": trial.number, **kept, "again": trial.number})


def gave_up(trial: FrozenTrial) -> bool:
    """Whether a trial failed for good: it said why, where one that was interrupted could not."""
    return trial.state == TrialState.FAIL and "error" in trial.user_attrs


def failure_lines(searched: optuna.Study) -> list[str]:
    """What failed for good, a line each."""
    trials = searched.get_trials(deepcopy=False, states=[TrialState.FAIL])
    return [f"trial {trial.number}: {trial.user_attrs['error']}" for trial in trials if gave_up(trial)]


def is_dead(process: Mapping[str, Any]) -> bool:
    """Whether a process, by its host and number, was of this machine and is no more, or is this very one."""
    if process.get("host") != platform.node():
        return False
    try:
        os.kill(int(process["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return int(process["pid"]) == os.getpid()


def begun(storage: Storage) -> Iterator[tuple[str, str, optuna.Study]]:
    """Name, network and Optuna's study of all that this program has begun; a storage may hold those of others, too."""
    for each in storage.get_all_studies():
        name, _, architecture = each.study_name.rpartition("/")
        if name and OURS & each.user_attrs.keys():
            yield name, architecture, optuna.load_study(study_name=each.study_name, storage=storage)


def states(storage: Storage) -> Iterator[State]:
    """How far each study in the storage is."""
    for name, architecture, searched in begun(storage):
        trials = searched.get_trials(deepcopy=False)
        count = Counter(trial.state for trial in trials)
        yield State(
            study=name,
            architecture=architecture,
            complete=count[TrialState.COMPLETE],
            stopped=count[TrialState.PRUNED],
            waiting=count[TrialState.WAITING],
            running=count[TrialState.RUNNING],
            failed=count[TrialState.FAIL],
            best=searched.best_value if count[TrialState.COMPLETE] else None,
        )


def quiet() -> warnings.catch_warnings[None]:
    """Silence Optuna, which calls heartbeats experimental."""
    return warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning)
