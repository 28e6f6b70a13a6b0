"""Optuna's storage: opened once under a lock, and held by one process at a time while it takes its next trial."""

from __future__ import annotations

import contextlib
import sqlite3
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.errors import StudyError, TrackingError, Unreachable, first_line, without_password
from orchestrator.tracking import failures
from orchestrator.tracking.leftovers import is_dead
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

NOTICED = {"tcp_keepalives_idle": 60, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 6}
"""Within seconds PostgreSQL notices that the machine of whoever holds a lock is gone; its default is two hours."""

PATIENCE: dict[str, Any] = {"connect_args": {"connect_timeout": 5}}
"""With a database server, in seconds."""


class Storage(optuna.storages.RDBStorage):
    """Optuna's, of which nothing queues what was interrupted but `requeue`."""

    def record_heartbeat(self, trial_id: int) -> None:
        """Give a sign of life; one that the database does not take is followed by the next, and not by none."""
        with contextlib.suppress(SQLAlchemyError, OptunaError):
            super().record_heartbeat(trial_id)


Dead = Callable[[Mapping[str, Any]], bool]
"""Whether the process that a trial or a run is known to be in has ended."""

optuna.logging.set_verbosity(optuna.logging.ERROR)  # failures are told by us, without tracebacks


@dataclass(frozen=True)
class State:
    """How far a study is for one network: trainings by how they stand, and the best value so far."""

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
            if path:
                with sqlite3.connect(path) as connection:
                    connection.execute("PRAGMA journal_mode=WAL")
            return Storage(
                url,
                engine_kwargs={} if path else PATIENCE,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
            )
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
    """A right that one process has at a time, and that ends with it; all that work on a storage agree on it.

    Without a name it is the right to queue trials and to take them.
    """

    def __init__(self, storage: Storage, name: str = "") -> None:
        path, number = database(storage.url), zlib.crc32(name.encode()) & 0x7FFFFFFF  # 0 without a name
        self._file = FileLock(f"{path}.claim" + (f"-{number:08x}" if name else "")) if path else None
        self._key = KEY + (number << 32)
        self._engine = storage.engine
        self._connection: Any = None
        self._held = False

    def take(self, *, wait: bool = True) -> bool:
        """Wait for it, or see whether it is free; whether it is held."""
        if self._held:
            return True
        if self._file:
            with contextlib.suppress(Timeout):
                self._file.acquire(blocking=wait)
            self._held = self._file.is_locked
            return self._held
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        for setting, seconds in NOTICED.items():
            connection.execute(text(f"SET {setting} = {seconds}"))
        taken = connection.scalar(text(f"SELECT pg_{'' if wait else 'try_'}advisory_lock({self._key})"))
        self._held = wait or bool(taken)
        if self._held:
            self._connection = connection
        else:
            connection.close()
        return self._held

    def give_back(self) -> None:
        """Let others have it; twice does no harm."""
        if not self._held:
            return
        self._held = False
        if self._file:
            self._file.release()
        else:
            with contextlib.closing(self._connection) as connection:
                connection.execute(text(f"SELECT pg_advisory_unlock({self._key})"))

    def __enter__(self) -> None:
        self.take()

    def __exit__(self, *_: object) -> None:
        self.give_back()


def requeue(searched: optuna.Study, dead: Dead | None = None) -> None:
    """Queue again what was interrupted: by Ctrl-C, or by the end of a process of this machine or of another.

    To be called under the claim.

    Args:
        searched: the study.
        dead: tells whether a process is; by default `is_dead`.
    """
    with quiet():
        optuna.storages.fail_stale_trials(searched)
    trials = searched.get_trials(deepcopy=False)
    again = {number for trial in trials for number in _retried(trial)}
    for trial in trials:
        if is_left(trial, dead or is_dead):
            searched.tell(trial.number, state=TrialState.FAIL)
        elif trial.state != TrialState.FAIL or gave_up(trial):
            continue
        if trial.number not in again:
            kept = {"until": trial.user_attrs["until"]} if "until" in trial.user_attrs else {}
            searched.enqueue_trial(recipe_of(trial), {"origin": origin_of(trial), **kept, "again": trial.number})


def is_left(trial: FrozenTrial, dead: Dead) -> bool:
    """Whether a trial that says it is running is nobody's any more; to be called under the claim.

    Who takes a trial writes down its process before giving back the claim: one without was left in between.
    """
    return trial.state == TrialState.RUNNING and (
        not {"host", "pid"} <= trial.user_attrs.keys() or dead(trial.user_attrs)
    )


def origin_of(trial: FrozenTrial | optuna.Trial) -> int:
    """Number of the trial that drew the recipe."""
    queued_by_optuna = getattr(trial, "system_attrs", {})  # in storages of before; a trial under way does not show it
    return int(trial.user_attrs.get("origin", queued_by_optuna.get("failed_trial", trial.number)))


def recipe_of(trial: FrozenTrial) -> dict[str, Any]:
    """What was drawn for a trial; one that was left while it took it up knows a part for itself."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _retried(trial: FrozenTrial) -> list[int]:
    """The trials that one stands for anew: queued by `requeue`, or by Optuna itself in storages of before."""
    again = [trial.user_attrs["again"]] if "again" in trial.user_attrs else []
    return [*again, *trial.system_attrs.get("retry_history", [])]


def gave_up(trial: FrozenTrial) -> bool:
    """Whether a trial failed for good: it said why, where one that was interrupted could not."""
    return trial.state == TrialState.FAIL and "error" in trial.user_attrs


def failure_lines(searched: optuna.Study) -> list[str]:
    """What failed for good, a line each."""
    trials = searched.get_trials(deepcopy=False, states=[TrialState.FAIL])
    return [f"trial {trial.number}: {trial.user_attrs['error']}" for trial in trials if gave_up(trial)]


def begun(storage: Storage) -> Iterator[tuple[str, str, optuna.Study]]:
    """Name, network and Optuna's study of all that this program has begun; a storage may hold those of others, too."""
    for each in storage.get_all_studies():
        name, _, architecture = each.study_name.rpartition("/")
        if name and OURS & each.user_attrs.keys():
            yield name, architecture, optuna.load_study(study_name=each.study_name, storage=storage)


def open_study(
    name: str, direction: Literal["minimize", "maximize"], storage: Storage, queued: Sequence[Mapping[str, Any]] = ()
) -> optuna.Study:
    """Optuna's study of that name, made where there is none; to be called under the claim.

    Args:
        name: of ours, and of Optuna's network by network.
        direction: of its metric.
        storage: that it is in.
        queued: what may be waiting in one of ours that was left before it had its definition.

    Raises:
        StudyError: somebody else's goes by that name; nothing is written to it.
    """
    found = optuna.create_study(study_name=name, storage=storage, direction=direction, load_if_exists=True)
    if not OURS & found.user_attrs.keys():
        directions = [each.name.lower() for each in found.directions]
        trials = found.get_trials(deepcopy=False)
        waiting = [each.system_attrs.get("fixed_params") for each in trials if each.state == TrialState.WAITING]
        half_made = len(waiting) == len(trials) and all(each in queued for each in waiting)
        if found.user_attrs or directions != [direction] or not half_made:
            raise StudyError(
                f"{without_password(storage.url)}: the Optuna study '{name}' there is none of this program, and is left"
                " as it is; give the study another name, or --storage another address"
            )
    return found


def states(storage: Storage) -> Iterator[State]:
    """How far each study in the storage is."""
    for name, architecture, searched in begun(storage):
        trials = searched.get_trials(deepcopy=False)
        count = Counter(last_legs(trials).values())
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


def last_legs(trials: Iterable[FrozenTrial]) -> dict[int, TrialState]:
    """How each training stands, by its number: as its last trial does, or waiting where that was interrupted."""
    found: dict[int, TrialState] = {}
    for trial in trials:
        if trial.state == TrialState.FAIL and not gave_up(trial):
            found[origin_of(trial)] = TrialState.WAITING
        elif trial.state != TrialState.PRUNED or trial.intermediate_values:
            found[origin_of(trial)] = trial.state
        else:  # left to another that was at the same recipe
            found.setdefault(origin_of(trial), trial.state)
    return found


def quiet() -> warnings.catch_warnings[None]:
    """Silence Optuna, which calls heartbeats experimental."""
    return warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning)
