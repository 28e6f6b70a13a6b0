"""Everything a user can get wrong, as one tree; the command line prints these without a traceback.

OrchestratorError
├── DataError               a folder, key or cutout is not what it should be
│   ├── UnreadableCutout    one object cannot be read: it is named, skipped and counted
│   └── TooManyBadCutouts   more of them than `--max-bad` allows
├── RecipeError             a training cannot be done as asked: network, hyperparameter, setting
├── StudyError              a study file, or what is stored of it, is wrong
├── TrackingError           a store is not what it should be, or holds no such run or model
└── Unreachable             a store does not answer, and may later
"""

import re

REFUSED, AWAY = 2, 75
"""Exit statuses: of what will not do as it was asked for, and of what a store or a disk keeps from being done now."""


class OrchestratorError(Exception):
    """A message for the user: what is wrong, where, and what is allowed."""


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


class Unreachable(OrchestratorError):
    """A store does not answer, and may later."""


def without_password(text: str) -> str:
    """A text, such as a message, with the passwords of its addresses left out."""
    return re.sub(r"(://[^/\s:@]*):[^/\s@]*@", r"\1@", text)


def one_of(what: str, given: object, allowed: "list[str] | tuple[str, ...]") -> str:
    """Say that `given` is not among `allowed`, and suggest the nearest name.

    Returns:
        One line such as ``no network 'lens_flaw': did you mean 'lens_flow'? (allowed: a, b)``.
    """
    import difflib

    near = difflib.get_close_matches(str(given), allowed, n=1)
    hint = f": did you mean '{near[0]}'?" if near else ""
    return f"no {what} '{given}'{hint} (allowed: {', '.join(allowed)})"
