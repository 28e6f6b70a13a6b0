"""Everything a user can get wrong, as one tree; the command line prints these without a traceback.

OrchestratorError
├── DataError               a folder, key or cutout is not what it should be
│   ├── UnreadableCutout    one object cannot be read: it is named, skipped and counted
│   └── TooManyBadCutouts   more of them than `--max-bad` allows
├── RecipeError             a training cannot be done as asked: network, hyperparameter, setting
├── StudyError              a study file, or what is stored of it, is wrong
├── TrackingError           a store is not what it should be, or holds no such run or model
│   └── Refused             a store or a disk does not do what it is asked for, and will not later
└── Unreachable             a store does not answer, a disk is full or fails, a process was killed: it may work later
"""

import errno
import os
import re
from urllib.parse import quote

REFUSED, AWAY = 2, 75
"""Exit statuses: of what will not do as it was asked for, and of what a store or a disk keeps from being done now."""

OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE}
"""What the system answers where a disk is full, or one of another machine fails: it may work later."""


class OrchestratorError(Exception):
    """A message for the user, in one line: what is wrong, where, and what is allowed; it tells no password."""

    def __str__(self) -> str:
        return in_one_line(without_password(super().__str__()))


class DataError(OrchestratorError):
    """A folder, a key or a cutout is not what it should be."""


class UnreadableCutout(DataError):
    """One object cannot be read."""


class TooManyBadCutouts(DataError):
    """More objects cannot be read than the user allows."""


class RecipeError(OrchestratorError):
    """A training cannot be done as asked."""


class StudyError(OrchestratorError):
    """A study file, or what is stored of it, is wrong."""


class TrackingError(OrchestratorError):
    """A store is not what it should be, or holds no such run or model."""


class Refused(TrackingError):
    """A store or a disk does not do what it is asked for, and will not later: rights, a deleted experiment, a limit."""


class Unreachable(OrchestratorError):
    """A store does not answer, a disk is full, or a process that takes part was killed: it may work later."""


def first_line(error: BaseException) -> str:
    """What an error says, or what it is."""
    return (str(error).splitlines() or [type(error).__name__])[0]


SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD")
"""Variables of the environment that a store's password may stand in."""

ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]{0,30})://(?P<rest>\S*)", re.IGNORECASE)

SECRET = re.compile(
    r"([?&][^=&\s]*(?:pass|pwd|token|secret|key|auth|cred|sig)[^=&\s]*=)[^&#\s]*?(?=['\":,)]*(?:[&#\s]|$))",
    re.IGNORECASE,
)
"""A parameter of an address whose name says that nobody is to read its value."""


def without_password(text: str) -> str:
    """A text, such as a message, with all that its addresses are opened with left out.

    That is whatever stands before the last @: a password may hold a slash, a colon or an @ itself. The name of a
    database's user is kept; that of an HTTP server may be a token.
    """
    for value in filter(None, map(os.environ.get, SECRETS)):
        if len(value) > 3:  # a shorter one would be found in any text
            text = text.replace(value, "***").replace(quote(value, safe=""), "***")
    return SECRET.sub(r"\1***", ADDRESS.sub(_without_password, text))


def _without_password(found: re.Match[str]) -> str:
    before, at, place = found["rest"].rpartition("@")
    user = "***" if found["scheme"].lower().startswith("http") else before.partition(":")[0]
    return f"{found['scheme']}://{user + at if at else ''}{place}"


def in_one_line(text: str) -> str:
    r"""A text with what cannot be printed, such as the end of a line in a name, as ``\n`` or ``\xe9``."""
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    number = ord(character)
    # In names of files that are no UTF-8, Python has such numbers for bytes.
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else repr(character)[1:-1]


def one_of(what: str, given: object, allowed: "list[str] | tuple[str, ...]") -> str:
    """Say that `given` is not among `allowed`, and suggest the nearest name.

    Returns:
        One line such as ``no network 'lens_flaw': did you mean 'lens_flow'? (allowed: a, b)``.
    """
    import difflib

    near = difflib.get_close_matches(str(given), allowed, n=1)
    hint = f": did you mean '{near[0]}'?" if near else ""
    return f"no {what} '{given}'{hint} (allowed: {', '.join(allowed)})"
