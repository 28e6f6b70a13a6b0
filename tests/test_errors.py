"""What is told of an address, never what it is opened with; and messages of one line."""

from __future__ import annotations

import os

import pytest

from orchestrator.errors import DataError, TrackingError, without_password

ADDRESSES = {
    "postgresql://ann:S3cret@host:5432/db": "postgresql://ann@host:5432/db",
    "postgresql+psycopg://ann:S3cret@host/db?sslmode=require": "postgresql+psycopg://ann@host/db?sslmode=require",
    "postgresql://ann:S3%40cr%2Fet@host/db": "postgresql://ann@host/db",
    "postgresql://ann:S3/cr:et@host/db": "postgresql://ann@host/db",
    "postgresql://ann:S3@cr@et@host/db": "postgresql://ann@host/db",
    "postgresql://ann:S3?c=r#et@host/db": "postgresql://ann@host/db",
    "postgresql://:S3cret@host/db": "postgresql://@host/db",
    "postgresql://ann@host/db": "postgresql://ann@host/db",
    "postgresql://host/db?user=ann&password=S3cret": "postgresql://host/db?user=ann&password=***",
    "postgresql://ann:S3cret@/db?host=/run/pg": "postgresql://ann@/db?host=/run/pg",
    "mysql://ann:S3cret@[::1]:3306/db": "mysql://ann@[::1]:3306/db",
    "https://ann:S3cret@host/mlflow": "https://***@host/mlflow",
    "HTTPS://S3cret@host": "HTTPS://***@host",
    "https://S3cret:x-oauth-basic@host": "https://***@host",
    "https://ann:S3/cret@host:5000": "https://***@host:5000",
    "https://ann:S3%2Fcret@host:5000": "https://***@host:5000",
    "https://host/?token=S3cret": "https://host/?token=***",
    "https://host/a?x=1&api_key=S3cret&y=2#z": "https://host/a?x=1&api_key=***&y=2#z",
    "s3://bucket/a?X-Amz-Signature=S3cret&X-Amz-Credential=S3cret": "s3://bucket/a?X-Amz-Signature=***"
    "&X-Amz-Credential=***",
}

PLAIN = (
    "sqlite:///mlflow.db",
    "sqlite:////home/ann b/mlflow.db",
    "http://127.0.0.1:5000",
    "http://127.0.0.1:5000 holds no models:/lens-finder-space@champion",
    "mlflow-artifacts:/1/models/m-2/artifacts",
    "models:/lens-finder-space@champion",
    "trial 3: a tag @ noon: 5",
)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("around", ["{}", "{}: cannot open", "from '{}' to http://other:1", "two: {} {}"])
def test_an_address_is_told_without_its_password(address: str, around: str) -> None:
    told = around.replace("{}", ADDRESSES[address])
    assert without_password(around.replace("{}", address)) == told
    assert str(TrackingError(around.replace("{}", address))) == told


def test_a_password_of_the_environment_is_told_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "S3 c/r@et")
    monkeypatch.setenv("PGPASSWORD", "S3cret")
    assert without_password("tried S3 c/r@et, S3%20c%2Fr%40et and S3cret") == "tried ***, *** and ***"


@pytest.mark.parametrize("text", PLAIN)
def test_a_text_without_one_stays_as_it_is(text: str) -> None:
    assert without_password(text) == text


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("two\nlines\tand ü", r"two\nlines\tand ü"),
        ("\x1b[2J and a NUL \0", r"\x1b[2J and a NUL \x00"),
        (os.fsdecode(b"caf\xe9.fits"), r"caf\xe9.fits"),
    ],
)
def test_a_message_is_one_line_that_can_be_printed(given: str, told: str) -> None:
    assert str(DataError(given)) == told
