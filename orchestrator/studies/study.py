"""A study: one TOML file that says what is trained, what varies, and what the best is."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import architectures as networks
import search_spaces
from orchestrator.data.splits import OFFICIAL
from orchestrator.errors import RecipeError, StudyError, one_of
from orchestrator.learning.gate import Gate
from orchestrator.learning.metrics import METRICS, sign
from orchestrator.learning.recipe import Recipe, recipe
from orchestrator.studies.ranges import Choices, Interval, Range, Value

if TYPE_CHECKING:
    import optuna


class Extension(BaseModel):
    """When a training goes on beyond the last epoch count; `orchestrator.studies.extension.decide` says how exactly.

    Attributes:
        to: further epoch counts, one after the other.
        rungs: how many of the last counts the trend is seen over.
        gain: what the metric has to gain by the next count, in units of its noise from epoch to epoch.
        rise: what the validation loss may rise by, in units of its noise.
        gap: what the accuracy on training images may be above that on the validation set.
        within: how near to the best of the study it has to be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    to: list[int] = Field(min_length=1)
    rungs: int = Field(3, ge=1)
    gain: float = Field(1.0, ge=0)
    rise: float = Field(1.0, ge=0)
    gap: float = Field(0.1, ge=0, le=1)
    within: float | None = Field(None, ge=0)


class Study(BaseModel):
    """A parsed study file.

    Attributes:
        name: of the file; of one at another scale, with the scale behind it.
        scale: which of the file's scales was asked for, if any.
        description: a sentence for people.
        data: a folder or a name of `orchestrator.data.datasets`.
        test_data: a set to test on, which the split `official` needs.
        architectures: networks; each is searched by itself.
        epochs: counts that get a row each; one training passes them all.
        maximise: the metric of the validation set that decides; one of which less is better is minimised.
        search: how recipes are found. ``grid`` tries every combination of choices; the others draw `trials` times:
            ``random``; ``tpe``, from what has done well, and stops at each epoch count all but the best so far;
            ``promote``, at random, and ``hybrid``, a third as tpe, train to the first count and let the best go on.
        halving: at each epoch count one in so many goes on.
        drop_dominated: whether nothing new is begun for a network that another is better than, by more than chance.
        trials: for each network; not for a grid.
        fixed: settings of the recipe that do not vary.
        vary: setting → range.
        hyperparameters: network → its hyperparameter → range.
        gate: what a row of it has to fulfil to become the champion; without it `gate.toml` or the defaults hold.
        extension: when a training goes on beyond the last epoch count; without it none does.
        scales: name → what is different at that scale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    scale: str = ""
    description: str = ""
    data: str
    test_data: str | None = None
    architectures: list[str] = Field(min_length=1)
    epochs: list[int] = Field(min_length=1)
    maximise: str = "auc"
    search: Literal["grid", "random", "tpe", "promote", "hybrid"] = "grid"
    halving: int = Field(2, ge=2)
    drop_dominated: bool = False
    trials: int | None = Field(None, ge=1, le=100_000)
    fixed: dict[str, Any] = {}
    vary: dict[str, Range] = {}
    hyperparameters: dict[str, dict[str, Range]] = {}
    gate: Gate | None = None
    extension: Extension | None = None
    scales: dict[str, dict[str, Any]] = {}

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """As Optuna calls it."""
        return "maximize" if sign(self.maximise) > 0 else "minimize"

    def on(self, data: str | None, test_data: str | None) -> Study:
        """The same on other sets than its own, where any are given.

        Raises:
            StudyError: a training may ask for the split `official`, and there is no set to test on.
        """
        given = {key: value for key, value in (("data", data), ("test_data", test_data)) if value}
        asked = self.model_copy(update=given)
        if asked.test_data is None and asked.may_be("split", OFFICIAL):
            where = "(--test-data, or test_data in its file)"
            raise StudyError(f"study '{self.name}': split '{OFFICIAL}' needs a set to test on {where}")
        return asked

    def ranges(self, architecture: str) -> dict[str, Range]:
        """All that varies for a network; its own hyperparameters with a prefix."""
        own = self.hyperparameters.get(architecture, {})
        return {**self.vary, **{f"hyperparameters.{key}": each for key, each in own.items()}}

    def suggest(self, trial: optuna.trial.BaseTrial, architecture: str) -> Recipe:
        """Draw one training."""
        ranges = self.ranges(architecture)
        return self.recipe(architecture, {key: each.suggest(trial, key) for key, each in ranges.items()})

    def recipe(self, architecture: str, chosen: dict[str, Any]) -> Recipe:
        """Make a training of what was chosen."""
        prefix = "hyperparameters."
        own = {key.removeprefix(prefix): value for key, value in chosen.items() if key.startswith(prefix)}
        rest = {key: value for key, value in chosen.items() if not key.startswith(prefix)}
        values = {**self.fixed, **rest, "architecture": architecture, "epochs": max(self.epochs)}
        if own:
            values["hyperparameters"] = own
        return recipe(values)

    def grid(self, architecture: str) -> list[dict[str, Any]]:
        """Every combination of the choices."""
        ranges = self.ranges(architecture)
        return [
            dict(zip(ranges, each, strict=True)) for each in itertools.product(*(r.corners() for r in ranges.values()))
        ]

    def may_be(self, setting: str, value: Value) -> bool:
        """Whether a training of this study may have that value of a setting."""
        if setting in self.vary:
            return value in self.vary[setting].corners()
        return bool(self.fixed.get(setting) == value)

    def normalisations(self) -> list[str]:
        """Every normalisation that a training of this study may ask for."""
        if "normalisation" in self.vary:
            return [str(each) for each in self.vary["normalisation"].corners()]
        return [self.recipe(self.architectures[0], {}).normalisation]

    @property
    def longest(self) -> int:
        """Epochs of a trial at most: of all its trainings, where a schedule asks for several."""
        return sum(self.epochs) if self.may_be("schedule", "cosine") else self.epochs[-1]

    def wanted(self, architecture: str) -> int:
        """How many trials a network gets."""
        return len(self.grid(architecture)) if self.search == "grid" else self.trials or 1


def names() -> tuple[str, ...]:
    """The studies there are: files of `search_spaces` in the working directory, then those that come along."""
    return tuple(sorted({path.stem for folder in _folders() for path in folder.glob("*.toml")}))


def load(name: str, scale: str | None = None) -> Study:
    """Read a study by the name of its file, or by its path.

    Args:
        name: of the file, or its path.
        scale: one of the file's `scales`; the study is another one then, named for it.

    Raises:
        StudyError: no such study or scale, a typo in it, or a range with a corner that no training takes.
    """
    paths = [Path(name)] if name.endswith(".toml") else [folder / f"{name}.toml" for folder in _folders()]
    path = next((each for each in paths if each.is_file()), None)
    if path is None:
        raise StudyError(one_of("study", name, names()))
    study = _parse(path, None)
    for each in study.scales:  # all are checked, whichever is asked for
        _parse(path, each)
    return study if scale is None else _parse(path, scale)


def _parse(path: Path, scale: str | None) -> Study:
    try:
        content = tomllib.loads(path.read_text())
        scales = content.get("scales", {})
        if scale is not None and scale not in scales:
            raise StudyError(f"{path}: {one_of('scale', scale, tuple(scales))}")
        for key, value in scales[scale].items() if scale else ():
            content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
        if scale:  # of networks that this scale leaves out
            own = content.get("hyperparameters", {})
            content["hyperparameters"] = {name: each for name, each in own.items() if name in content["architectures"]}
        name = f"{path.stem}-{scale}" if scale else path.stem
        study = Study.model_validate({**content, "name": name, "scale": scale or ""})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StudyError(f"{path}: {error}") from None
    except ValidationError as error:
        raise StudyError(f"{path}: {_first_problem(error)}") from None
    for problem in _problems(study):
        raise StudyError(f"{path}: {problem}")
    return study


def _folders() -> tuple[Path, ...]:
    return Path("search_spaces"), Path(search_spaces.__file__).parent


def _problems(study: Study) -> Iterator[str]:
    for name in (*study.architectures, *study.hyperparameters):
        if name not in networks.names():
            yield one_of("network", name, networks.names())
    for name in study.hyperparameters:
        if name not in study.architectures:
            yield f"hyperparameters.{name}: not among the study's architectures"
    if sorted(set(study.epochs)) != study.epochs or study.epochs[0] < 1:
        yield f"epochs = {study.epochs}: ascending whole numbers above 0 are expected"
    if study.maximise not in METRICS:
        yield f"maximise: {one_of('metric', study.maximise, tuple(METRICS))}"
    if study.search == "grid" and study.trials is not None:
        yield "trials: a grid has as many as it has combinations (allowed with any other search)"
    to = study.extension.to if study.extension else []
    if to and (sorted(set(to)) != to or to[0] <= study.epochs[-1]):
        yield f"extension.to = {to}: ascending whole numbers above {study.epochs[-1]} are expected"
    if study.extension and study.may_be("schedule", "cosine"):
        yield "extension: a cosine schedule ends at its last epoch, and cannot be gone on from"
    decided = ("architecture", "epochs", "hyperparameters")
    settings = tuple(key for key in Recipe.model_fields if key not in decided)
    for table, keys in (("fixed", study.fixed), ("vary", study.vary)):
        for key in keys:
            if key not in settings:
                yield f"{table}: {one_of('setting', key, settings)}"
    for architecture in study.architectures:
        for key, each in study.ranges(architecture).items():
            if study.search == "grid" and isinstance(each, Interval):
                yield f"vary.{key}: a grid needs 'choices'"
            for value in each.corners():
                try:
                    study.recipe(architecture, {key: value})
                except RecipeError as error:
                    yield f"vary.{key}: {error}"
        try:
            study.recipe(architecture, {})
        except RecipeError as error:
            yield f"fixed: {error}"


def _first_problem(error: ValidationError) -> str:
    # A misspelt key is missing under its right name too: tell of the misspelling.
    problem = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    place = [str(part) for part in problem["loc"] if part not in ("choices", "interval")]  # without pydantic's tags
    key = ".".join(place)
    if problem["type"] == "extra_forbidden":
        fields = Study.model_fields if len(place) == 1 else (*Choices.model_fields, *Interval.model_fields)
        return one_of("key", key, tuple(each for each in fields if each not in ("name", "scale")))
    if problem["type"] == "missing":
        return f"key '{key}' is missing"
    return f"{key} = {problem['input']!r}: {problem['msg'].removeprefix('Value error, ').lower()}"
