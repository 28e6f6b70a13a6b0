"""Everything that decides one training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

import architectures
from orchestrator.data.normalise import NORMALISATIONS
from orchestrator.data.splits import shares
from orchestrator.errors import RecipeError, one_of
from orchestrator.learning.transformations import DIHEDRAL, TRANSFORMATIONS, ordered

PAPER_EPOCHS = (5, 10, 25, 50, 100, 250)
"""The epoch counts of LEXACTUM's tables, before its extension to 500 and 1,000."""

SETS = {"all": TRANSFORMATIONS, "dihedral": DIHEDRAL, "none": ()}
"""Names of sets of transformations, where a text has to stand for them; dihedral ones flip and turn by right angles."""

SEEDS = ("seed", "split_seed")
"""Settings that repeats of one training differ in."""


class Recipe(BaseModel):
    """One training, decided whole: equal recipes on equal data give equal networks.

    A wrong name, split or hyperparameter raises RecipeError itself; `recipe` says everything else so, too.

    Attributes:
        architecture: a file name of `architectures/`.
        hyperparameters: what that network takes beside its bands.
        normalisation: a name of `NORMALISATIONS`.
        augment: the transformations drawn from, for each image and epoch; none switches augmentation off.
        strength: of the augmentation: 1 has the limits of the paper, 2 twice as far shifts, shears and scales.
        optimiser: ``adam`` as Keras has it (eps 1e-7), which LEXACTUM used; ``adamw``, whose weight decay is apart from
            the gradient's scale; ``sgd`` with Nesterov momentum of 0.9.
        learning_rate: of the optimiser.
        schedule: of the learning rate: ``constant``, or ``cosine``, which falls to 0 over the epochs asked for.
        ema: decay a step of a running average of the weights, which is scored beside the raw ones; 0 keeps none.
        weight_decay: of all weights.
        label_smoothing: by how much labels of 0 and 1 are drawn towards 0.5 in training: 0.1 makes them 0.05 and 0.95.
        batch_size: images a step. LEXACTUM's tables used 8.
        epochs: passes over the training set; with several counts on the way, the last of them.
        split: a scheme of `orchestrator.data.splits`.
        seed: decides weights, order, augmentation, dropout, and the split unless `split_seed` does.
        precision: of the forward pass; ``auto`` is bfloat16 on devices that gain from it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    architecture: str
    hyperparameters: dict[str, Any] = {}
    normalisation: str = "zscale"
    augment: tuple[str, ...] = TRANSFORMATIONS
    strength: float = Field(1.0, gt=0, le=2)
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(1e-3, gt=0, le=1)
    schedule: Literal["constant", "cosine"] = "constant"
    ema: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0, le=1)
    label_smoothing: float = Field(0.0, ge=0, le=0.5)
    batch_size: int = Field(32, ge=2, le=65536)
    epochs: int = Field(ge=1, le=100_000)
    split: str = "0.7/0.1/0.2"
    seed: int = Field(0, ge=0, lt=2**32)
    split_seed: int | None = Field(None, ge=0, lt=2**32)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    @field_validator("architecture")
    @classmethod
    def _architecture(cls, name: str) -> str:
        return _known("network", name, architectures.names())

    @field_validator("normalisation")
    @classmethod
    def _normalisation(cls, name: str) -> str:
        return _known("normalisation", name, tuple(NORMALISATIONS))

    @field_validator("augment", mode="before")
    @classmethod
    def _augment(cls, names: Any) -> Any:
        """In the order they are composed, so that equal trainings have equal digests; a study writes them as a text."""
        if isinstance(names, str):
            names = SETS.get(names, tuple(names.split(",")))
        if not isinstance(names, (tuple, list)):
            return names  # the type is refused next
        return ordered(names)

    @field_validator("split")
    @classmethod
    def _split(cls, scheme: str) -> str:
        shares(scheme)
        return scheme

    @model_validator(mode="after")
    def _hyperparameters(self) -> Recipe:
        try:
            architectures.check_hyperparameters(self.architecture, self.hyperparameters)
        except ValueError as error:
            raise RecipeError(str(error)) from None
        return self

    @property
    def splitting(self) -> int:
        """The seed that decides the split."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits, equal for equal recipes."""
        return self.digest_without()

    @property
    def family(self) -> str:
        """A digest of all but the seeds and the epochs: repeats of one training share it, and its extensions too."""
        return self.digest_without(*SEEDS, "epochs")

    def digest_without(self, *settings: str) -> str:
        """The same of all but some settings: equal for recipes that differ in those alone."""
        rest = self.model_dump(mode="json", exclude=set(settings))
        canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def trainings(self, counts: Sequence[int]) -> list[tuple[Recipe, list[int]]]:
        """The trainings that give a row at each epoch count, and the counts of each.

        One training passes them all, unless its schedule depends on how many there are: then each is its own.
        """
        if self.schedule == "constant":
            return [(self.model_copy(update={"epochs": max(counts)}), sorted(counts))]
        return [(self.model_copy(update={"epochs": count}), [count]) for count in sorted(counts)]

    def settings(self) -> dict[str, str]:
        """The recipe as flat names and texts, for a person to filter and compare by."""
        flat = {key: value for key, value in self.model_dump().items() if key != "hyperparameters"}
        known = {each: name for name, each in SETS.items()}
        flat["augment"] = known.get(self.augment, ",".join(self.augment))
        flat |= {f"hyperparameters.{key}": value for key, value in self.hyperparameters.items()}
        return {key: str(value) for key, value in flat.items()}


def recipe(values: Mapping[str, Any]) -> Recipe:
    """Make a recipe of plain values, as a study file or a command line gives them.

    Raises:
        RecipeError: an unknown key or name, or a value out of range; it names the key and what is allowed.
    """
    lists = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return Recipe.model_validate(lists)
    except ValidationError as error:
        raise RecipeError(_first_problem(error)) from None


def _known(what: str, name: str, allowed: tuple[str, ...]) -> str:
    if name not in allowed:
        raise RecipeError(one_of(what, name, allowed))
    return name


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return one_of("setting", key, tuple(Recipe.model_fields))
    if problem["type"] == "missing":
        return f"setting '{key}' is missing"
    return f"setting '{key}' = {problem['input']!r}: {problem['msg'].lower()}"
