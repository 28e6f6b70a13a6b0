"""Begins another study with the finished trainings of one whose file has changed since."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from orchestrator.errors import RecipeError, StudyError, one_of
from orchestrator.learning.recipe import Recipe
from orchestrator.studies.bench import Bench
from orchestrator.studies.search import LEGS, values
from orchestrator.studies.storage import FROM, Claim, Storage, begun, open_study, origin_of, states
from orchestrator.studies.study import Study
from orchestrator.studies.sweep import joined, open_all
from orchestrator.tracking import copies, records, runs

DONE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Training:
    """All trials of one training as one: what was drawn, its values by epoch, and what was tried beside its recipe."""

    origin: int
    params: Mapping[str, Any]
    values: Mapping[int, float]
    batch_size: int | None

    @property
    def last(self) -> int:
        """The epoch that it stands at."""
        return max(self.values)


@dataclass(frozen=True)
class Counterpart:
    """A training as the new study would draw it, and the recipes of its runs there and here."""

    training: Training
    params: Mapping[str, Any]
    distributions: Mapping[str, optuna.distributions.BaseDistribution]
    recipes: Sequence[tuple[Recipe, Recipe]]


def fork(study: Study, source: str, storage: Storage, bench: Bench) -> str | None:
    """Begin a study with the finished trainings of another; return what was done, or None where it was done before.

    A training is copied if the new study could draw it: the same recipe on the same data, at one of its epoch counts.
    Its runs are recorded once more as of the new study, and refer to the old ones for their files. Done again, after a
    kill too, it copies nothing twice.

    Raises:
        StudyError: the other was never begun, nothing of it fits, or the new one is there and came about otherwise.
    """
    there = _begun(study.name, storage)
    for searched in there.values():
        if searched.user_attrs.get(FROM) != source:
            before = searched.user_attrs.get(FROM, "a study file")
            raise StudyError(f"--fork {study.name}: there is a study of that name, begun from {before}; choose another")
    pending = [name for name in study.architectures if name not in there or not _is_begun(there[name])]
    if not pending:
        return None
    old = _begun(source, storage)
    if not any(map(_is_begun, old.values())):
        names = tuple({each.study for each in states(storage)})
        raise StudyError(f"--fork: {one_of('study that was begun', source, names)}")
    found, left_out = {}, 0
    for name in pending:
        trainings = list(_trainings(old[name])) if name in old else []
        found[name] = list(_counterparts(study, name, old.get(name), trainings, bench))
        left_out += len(trainings) - len(found[name])
    count = sum(map(len, found.values()))
    if not there and not count:
        raise StudyError(
            f"--fork {study.name}: none of the {left_out} finished trainings of '{source}' fits: ranges, fixed values,"
            " data, metric and epoch counts have to allow the very same training"
        )
    parent = joined(bench.experiment, study, storage)
    runs.log_tags(parent, {FROM: source})
    with Claim(storage):
        for name, each in found.items():
            _copy(study, name, source, each, storage, bench, parent)
        open_all(study, storage, bench)
    return f"forked from {source} with {count} of its finished trainings; {left_out} do not fit"


def fits(old: Study, new: Study, architecture: str, training: Training) -> Counterpart | None:
    """The training as the new study would draw it; None where it would not.

    The counts that it has passed have to be the same, so that it has a row at each.
    """
    passed = [count for count in new.epochs if count <= training.last]
    if old.maximise != new.maximise or passed != [count for count in old.epochs if count <= training.last]:
        return None
    if not passed or passed[-1] != training.last:
        return None
    usual = {key: field.default for key, field in Recipe.model_fields.items() if not field.is_required()}
    given = {**usual, **old.fixed, **training.params}
    chosen = {key: given[key] for key in new.ranges(architecture) if key in given}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values out of range, which are refused below
            drawn = optuna.trial.FixedTrial(chosen)
            recipes = old.recipe(architecture, dict(training.params)), new.suggest(drawn, architecture)
        optuna.trial.create_trial(params=drawn.params, distributions=drawn.distributions, state=TrialState.PRUNED)
    except (RecipeError, ValueError):
        return None
    if recipes[0].digest_without("epochs") != recipes[1].digest_without("epochs"):
        return None
    if training.batch_size is not None:  # the device had not the memory for more
        halved = {"batch_size": training.batch_size}
        recipes = recipes[0].model_copy(update=halved), recipes[1].model_copy(update=halved)
    pairs = zip(recipes[0].trainings(old.epochs), recipes[1].trainings(new.epochs), strict=False)
    of_runs = [(before, now) for (before, counts), (now, _) in pairs if counts[0] <= training.last]
    return Counterpart(training, drawn.params, drawn.distributions, of_runs)


def _begun(study: str, storage: Storage) -> dict[str, optuna.Study]:
    """Network → its Optuna study."""
    return {architecture: searched for name, architecture, searched in begun(storage) if name == study}


def _is_begun(searched: optuna.Study) -> bool:
    return "definition" in searched.user_attrs


def _trainings(searched: optuna.Study) -> Iterator[Training]:
    """What stands at a rung, and is not at work."""
    trials = searched.get_trials(deepcopy=False)
    for origin, known in values(trials).items():
        legs = [trial for trial in trials if origin_of(trial) == origin]
        done = [trial for trial in legs if trial.state in DONE and trial.intermediate_values]
        if done:
            last = max(max(trial.intermediate_values) for trial in done)
            halved = next((leg.user_attrs["batch_size"] for leg in legs if "batch_size" in leg.user_attrs), None)
            yield Training(origin, done[0].params, {at: each for at, each in known.items() if at <= last}, halved)


def _counterparts(
    study: Study, architecture: str, old: optuna.Study | None, trainings: Sequence[Training], bench: Bench
) -> Iterator[Counterpart]:
    """Those that fit, and whose runs are in the MLflow store."""
    if old is None or not _is_begun(old):
        return
    definition = {key: each for key, each in old.user_attrs["definition"].items() if key in Study.model_fields}
    before = Study.model_validate({**definition, "name": old.study_name, "architectures": [architecture]})
    if old.user_attrs["definition"]["data_digest"] != bench.data_digest:
        return
    for training in trainings:
        found = fits(before, study, architecture, training)
        if found and all(_run(old, recipe, bench) for recipe, _ in found.recipes):
            yield found


def _run(old: optuna.Study, recipe: Recipe, bench: Bench) -> str | None:
    name = old.study_name.rpartition("/")[0]
    return records.find_training(name, recipe, bench.data_digest, bench.test_digest)


def _copy(
    study: Study,
    architecture: str,
    source: str,
    found: Sequence[Counterpart],
    storage: Storage,
    bench: Bench,
    parent: str,
) -> None:
    searched = open_study(f"{study.name}/{architecture}", study.direction, storage)
    searched.set_user_attr(FROM, source)
    old = optuna.load_study(study_name=f"{source}/{architecture}", storage=storage) if found else searched
    trials = searched.get_trials(deepcopy=False)
    copied = {trial.user_attrs.get(FROM) for trial in trials}
    for each in found:
        for before, now in each.recipes:
            run_id = _run(old, before, bench)
            assert run_id is not None  # it was there just now
            copies.copy_training(run_id, now, bench.experiment, study.name, parent)
        number = f"{source} {each.training.origin}"
        if number in copied:
            continue
        whole = each.training.last == study.epochs[-1]
        about: dict[str, Any] = {FROM: number, "until": each.training.last}
        if each.training.batch_size is not None:
            about["batch_size"] = each.training.batch_size
        if not whole and study.search not in LEGS:  # it goes on, unless this study's rule stops it there again
            searched.enqueue_trial(dict(each.params), user_attrs={FROM: number})
            continue
        searched.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if whole else TrialState.PRUNED,
                value=each.training.values[each.training.last] if whole else None,
                params=dict(each.params),
                distributions=dict(each.distributions),
                intermediate_values=dict(each.training.values),
                user_attrs=about,
            )
        )
