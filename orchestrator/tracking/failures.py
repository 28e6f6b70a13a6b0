"""What a failure of a store or of the disk means: it may work later, it is refused, or it is a mistake of ours."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import ssl
import warnings

import requests
from sqlalchemy import exc
from urllib3 import exceptions as urllib3

from orchestrator.errors import OF_THE_DISK, OrchestratorError, Refused, Unreachable, first_line, without_password

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations inside MLflow's own imports are not ours to mend
    import mlflow
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException, RestException

__all__ = ["MlflowClient", "MlflowException", "absent", "mlflow", "told"]

LATER = {"ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED",
         "TEMPORARILY_UNAVAILABLE"}  # fmt: skip
"""MLflow's error codes of what may work later."""

VAGUE = {"BAD_REQUEST", "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"}
"""Its codes of whatever a database or a connection raised: that says more."""

STATUS = re.compile(r"error code (\d{3})|too many (\d{3}) error|(\d{3}) (?:Client|Server) Error")
NO_ANSWER = re.compile(r"API request to \S+ failed with (?:timeout )?exception")
"""How MLflow words what came of a request, where it keeps the text alone: of what its threads download, for one."""

SQLITE = {5, 6, 10, 13, 15, 19}
"""SQLite's result codes of what may work later: busy, locked, input or output, full, locking protocol, and a
constraint, which two processes that write the same meet."""

POSTGRESQL = ("08", "23", "40", "53", "55P03", "57", "58")
"""What its states of that begin with: connections, constraints, conflicts, resources, locks, shutdown, the system.

Source: PostgreSQL's documentation, appendix A.
"""

ERRNO = re.compile(r"\[Errno (\d+)\]")
"""How Python words what the system answered, in the same text."""

NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}

MISTAKES = (TypeError, AttributeError, NameError, LookupError, AssertionError, NotImplementedError)


def told(error: BaseException) -> Unreachable | Refused | None:
    """What to tell of an error: what failed may work later, or is refused; None where no store and no disk failed."""
    if isinstance(error, OrchestratorError):
        return error if isinstance(error, Unreachable | Refused) else None
    failed, later = _failed(error)
    if failed is None:
        return None
    return (Unreachable if later else Refused)(without_password(first_line(failed)))


def absent(error: BaseException) -> bool:
    """Whether a store says that what was asked for is not there; one that does not answer, or refuses, does not."""
    if isinstance(error, MlflowException):  # which says of a file that could not be downloaded only in text why
        return error.error_code == "RESOURCE_DOES_NOT_EXIST" or "404 Client Error" in str(error)
    return isinstance(error, FileNotFoundError)


def _failed(error: BaseException | None) -> tuple[BaseException | None, bool]:
    """The failure of a store or a disk that an error is, or came of, and whether it may work later."""
    while error is not None and not isinstance(error, MISTAKES):
        if (full := _full_disk(error)) is not None:
            return full, True
        later = _later(error)
        if later is not None:
            return error, later
        error = _before(error)
    return None, False


def _before(error: BaseException) -> BaseException | None:
    return error.__cause__ or error.__context__


def _later(error: BaseException) -> bool | None:
    """Whether what raised this may work later; None where it is of no store and no disk."""
    if isinstance(error, MlflowException):
        return _later_of_mlflow(error)
    if isinstance(error, exc.SQLAlchemyError):
        return _later_of_a_database(error)
    if isinstance(error, sqlite3.Error):  # one that SQLite itself did not raise has no code
        code = getattr(error, "sqlite_errorcode", None)
        return isinstance(error, sqlite3.OperationalError) if code is None else code & 0xFF in SQLITE
    if isinstance(error, requests.RequestException):
        return _later_of_a_request(error)
    if isinstance(error, urllib3.ProtocolError | urllib3.TimeoutError):
        return True
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):  # of whoever reads what is printed
        if isinstance(error, ConnectionError | TimeoutError) or error.errno in OF_THE_DISK:
            return True
        return False if error.errno in NOT_ALLOWED else None
    return None


def _later_of_mlflow(error: MlflowException) -> bool | None:
    came_of, later = _failed(_before(error))
    if type(came_of) is OSError:  # a full disk tells more itself than MLflow, which calls a parameter invalid
        return None
    if came_of is not None and error.error_code in VAGUE:
        return later
    if error.error_code != "INTERNAL_ERROR":
        return error.error_code in LATER
    if isinstance(error, RestException):  # else somebody before the server answered, and not with a failure
        return bool(error.json.get("error_code") == "INTERNAL_ERROR")
    status = _in_text(error)
    return _passing(status) if status else NO_ANSWER.search(str(error)) is not None


def _later_of_a_database(error: exc.SQLAlchemyError) -> bool:
    if not isinstance(error, exc.DBAPIError):
        return isinstance(error, exc.TimeoutError)
    if isinstance(error.orig, sqlite3.Error):
        return bool(_later(error.orig))
    state = getattr(error.orig, "sqlstate", None)
    if state:
        return str(state).startswith(POSTGRESQL)
    return error.connection_invalidated or isinstance(error, exc.OperationalError | exc.InterfaceError)


def _later_of_a_request(error: requests.RequestException) -> bool:
    if isinstance(error, requests.HTTPError):
        return _passing(_status(error))
    if isinstance(error, requests.exceptions.SSLError):
        came_of: BaseException | None = error
        while came_of is not None:
            if isinstance(came_of, ssl.SSLCertVerificationError):
                return False
            came_of = _before(came_of)
    gone = (requests.ConnectionError, requests.Timeout, requests.exceptions.RetryError)
    return isinstance(error, (*gone, requests.exceptions.ChunkedEncodingError))


def _passing(status: int) -> bool:
    return status in (408, 429) or status >= 500


def _status(error: requests.HTTPError) -> int:
    return 0 if error.response is None else int(error.response.status_code)


def _full_disk(error: BaseException) -> OSError | None:
    """What the disk answered to a download, of which MLflow tells the text alone."""
    numbers = map(int, ERRNO.findall(str(error)) if isinstance(error, MlflowException) else ())
    return next((OSError(number, os.strerror(number)) for number in numbers if number in OF_THE_DISK), None)


def _in_text(error: MlflowException) -> int:
    """The HTTP status that a message tells, or 0."""
    found = STATUS.search(str(error))
    return int(next(filter(None, found.groups()))) if found else 0
