"""Everything a user can get wrong, as one tree; the command line prints these without a traceback.

OrchestratorError
├── DataError               a folder, key or cutout is not what it should be
│   ├── UnreadableCutout    one object cannot be read: it is named, skipped and counted
│   └── TooManyBadCutouts   more of them than `--max-bad` allows
├── RecipeError             a training cannot be done as asked: network, hyperparameter, setting
├── StudyError              a study file, or what is stored of it, is wrong
└── TrackingError           a store cannot be reached, or holds no such run or model
"""


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
    """A store cannot be reached, or holds no such run or model."""


def one_of(what: str, given: object, allowed: "list[str] | tuple[str, ...]") -> str:
    """Say that `given` is not among `allowed`, and suggest the nearest name.

    Returns:
        One line such as ``no network 'lens_flaw': did you mean 'lens_flow'? (allowed: a, b)``.
    """
    import difflib

    near = difflib.get_close_matches(str(given), allowed, n=1)
    hint = f": did you mean '{near[0]}'?" if near else ""
    return f"no {what} '{given}'{hint} (allowed: {', '.join(allowed)})"
