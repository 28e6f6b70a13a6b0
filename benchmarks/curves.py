"""Records learning curves of recipes that a study would draw, for benchmarks/search.py; goes on where it stopped.

    .venv/bin/python benchmarks/curves.py lens_flow=24:250 lastro_epfl=12:50 cas_swinburne=6:10

gives each network so many recipes of space-hpo, of so many epochs each. A line of benchmarks/curves/NETWORK.csv is a
recipe: what was drawn, and the AUC of the validation set after each epoch. Trained on 750 and validated on 600 of 1,500
simulated Space objects, so that the validation tells networks apart.
"""

from __future__ import annotations

import contextlib
import csv
import json
import sys
import time
from pathlib import Path

import optuna
import torch

from orchestrator.data import cache, datasets
from orchestrator.data.cutouts import Cutouts
from orchestrator.data.splits import split
from orchestrator.errors import RecipeError
from orchestrator.learning import devices
from orchestrator.learning.batches import Batches
from orchestrator.learning.inference import score
from orchestrator.learning.metrics import auc, roc
from orchestrator.learning.recipe import Recipe
from orchestrator.learning.training import begin, train
from orchestrator.studies import study as studies

CURVES = Path(__file__).with_name("curves")
DATA, SPLIT, SEED = "simulated-space-1500", "0.5/0.4/0.1", 1
CPU = devices.choose("cpu")


def main() -> None:
    """Do what the command line asks for."""
    CURVES.mkdir(exist_ok=True)
    for wish in sys.argv[1:]:
        network, _, numbers = wish.partition("=")
        recipes, _, epochs = numbers.partition(":")
        record(network, int(recipes), int(epochs))


def record(network: str, recipes: int, epochs: int) -> None:
    """Append the recipes that are not there yet; number n is the same whenever it is drawn."""
    path = CURVES / f"{network}.csv"
    done = len(path.read_text().splitlines()) - 1 if path.exists() else 0
    study = studies.load("space-hpo")
    for number in range(done, recipes):
        sampler = optuna.samplers.RandomSampler(seed=1000 + number)
        trial = optuna.create_study(sampler=sampler).ask()
        drawn = study.suggest(trial, network)
        recipe = drawn.model_copy(update={"epochs": epochs, "split": SPLIT, "ema": 0.0, "seed": SEED})
        start = time.perf_counter()
        values = curve(recipe)
        with path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if number == 0:
                writer.writerow(["params", "val_auc"])
            writer.writerow([json.dumps(trial.params), " ".join(f"{value:.4f}" for value in values)])
        print(
            f"{network} {number}: {len(values)} epochs in {time.perf_counter() - start:.0f} s, best {max(values):.4f}"
        )


def curve(recipe: Recipe) -> list[float]:
    """The AUC of the validation set after each epoch; of a training that diverges 0.5 from there on."""
    cutouts = opened(recipe.normalisation)
    parts = split(cutouts.labels, SPLIT, SEED)
    training = begin(recipe, cutouts.pixels.shape[1], cutouts.pixels.shape[-1], CPU)
    batches = Batches(
        cutouts.pixels,
        cutouts.labels,
        parts.train,
        recipe.batch_size,
        CPU,
        recipe.augment,
        recipe.seed,
        recipe.strength,
    )

    def validate(network: torch.nn.Module) -> dict[str, float]:
        logits = score(network, cutouts.pixels, CPU, rows=parts.validation)
        return {"auc": auc(roc(cutouts.labels[parts.validation], logits))}

    values: list[float] = []
    with contextlib.suppress(RecipeError):
        values.extend(epoch.metrics["auc"] for epoch in train(training, batches.epoch, recipe.epochs, validate))
    return values + [0.5] * (recipe.epochs - len(values))


def opened(normalisation: str) -> Cutouts:
    """The set, simulated and packed where it is not."""
    for _ in datasets.make(DATA):
        pass
    root = datasets.folder(DATA)
    for _ in cache.build(root, normalisation, datasets.PACKED):
        pass
    cutouts = cache.load(root, normalisation, datasets.PACKED)
    assert cutouts is not None
    return cutouts


if __name__ == "__main__":
    main()
