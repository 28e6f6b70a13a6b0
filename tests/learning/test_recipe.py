"""A recipe holds only what can be trained, and equal trainings have equal digests."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.errors import RecipeError
from orchestrator.learning.recipe import Recipe, recipe
from orchestrator.learning.transformations import DIHEDRAL, TRANSFORMATIONS

LEAST: dict[str, Any] = {"architecture": "lens_flow", "epochs": 5}

OTHER = {
    "architecture": "wsi_net",
    "hyperparameters": {"hidden": 64},
    "normalisation": "asinh",
    "augment": ["scale"],
    "learning_rate": 1e-4,
    "weight_decay": 1e-5,
    "batch_size": 8,
    "epochs": 10,
    "split": "lexactum",
    "seed": 1,
    "split_seed": 1,
    "schedule": "cosine",
    "ema": 0.999,
    "strength": 0.5,
    "optimiser": "adamw",
    "label_smoothing": 0.1,
    "precision": "bfloat16",
}


def test_a_network_and_a_number_of_epochs_are_enough() -> None:
    made = recipe(LEAST)
    assert made.augment == TRANSFORMATIONS
    assert (made.learning_rate, made.batch_size, made.split, made.seed) == (1e-3, 32, "0.7/0.1/0.2", 0)


def test_every_setting_decides_the_digest() -> None:
    assert set(OTHER) == set(Recipe.model_fields)
    digests = {recipe({**LEAST, key: value}).digest for key, value in OTHER.items()} | {recipe(LEAST).digest}
    assert len(digests) == len(OTHER) + 1
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in digests)


def test_equal_recipes_have_the_same_digest_however_they_are_written() -> None:
    digest = recipe(LEAST).digest
    assert recipe({"epochs": 5, "architecture": "lens_flow"}).digest == digest
    assert recipe({**LEAST, "augment": list(TRANSFORMATIONS[::-1])}).digest == digest
    assert recipe({**LEAST, "learning_rate": 1}).digest == recipe({**LEAST, "learning_rate": 1.0}).digest
    both = [{"hidden": 64, "dropout": 0.1}, {"dropout": 0.1, "hidden": 64}]
    assert len({recipe({**LEAST, "hyperparameters": each}).digest for each in both}) == 1


def test_the_digest_is_the_same_in_another_process() -> None:
    code = f"from orchestrator.learning.recipe import recipe; print(recipe({LEAST!r}).digest)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == recipe(LEAST).digest


def test_a_recipe_survives_being_written_as_json() -> None:
    made = recipe({**LEAST, **OTHER})
    assert recipe(json.loads(json.dumps(made.model_dump(mode="json")))) == made


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        recipe(LEAST).epochs = 6


def test_settings_are_flat_texts() -> None:
    settings = recipe({**LEAST, "hyperparameters": {"hidden": 64}, "augment": []}).settings()
    assert settings["augment"] == "none"
    assert settings["hyperparameters.hidden"] == "64"
    assert settings["learning_rate"] == "0.001"
    assert "hyperparameters" not in settings
    assert recipe({**LEAST, "augment": ["translate", "rotate_90"]}).settings()["augment"] == "rotate_90,translate"


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"architecture": "lens_flaw"}, r"no network 'lens_flaw': did you mean 'lens_flow'\?.*allowed: cas_swinburne,"),
        ({"normalisation": "zscal"}, r"no normalisation 'zscal': did you mean 'zscale'\?.*allowed: zscale, asinh"),
        ({"augment": ["spin"]}, r"no transformation 'spin'.*allowed: flip_horizontal, .*, shear_y"),
        ({"augment": 3}, r"setting 'augment' = 3"),
        ({"schedule": "linear"}, r"setting 'schedule' = 'linear': .*constant.*cosine"),
        ({"ema": 1.0}, r"setting 'ema' = 1.0"),
        ({"split": "0.7/0.2"}, r"split '0.7/0.2': allowed are 'lexactum', 'official', or three shares"),
        ({"hyperparameters": {"hiden": 3}}, r"lens_flow has no hyperparameter 'hiden' \(allowed: hidden, dropout\)"),
        ({"hyperparameters": {"hidden": 0}}, r"lens_flow: hidden = 0: a whole number from 1"),
        ({"hyperparameters": {"dropout": "no"}}, r"lens_flow: dropout = 'no': a number from 0 to below 1"),
        ({"hyperparameters": 3}, r"setting 'hyperparameters' = 3: input should be a valid dictionary"),
        ({"learning_rate": 0}, r"setting 'learning_rate' = 0: input should be greater than 0"),
        ({"learning_rate": float("nan")}, r"setting 'learning_rate' = nan"),
        ({"learning_rate": "0.1"}, r"setting 'learning_rate' = '0.1': input should be a valid number"),
        ({"weight_decay": float("inf")}, r"setting 'weight_decay' = inf: input should be less than or equal to 1"),
        ({"batch_size": 1}, r"setting 'batch_size' = 1: input should be greater than or equal to 2"),
        ({"epochs": 0}, r"setting 'epochs' = 0: input should be greater than or equal to 1"),
        ({"epochs": 1.5}, r"setting 'epochs' = 1.5: input should be a valid integer"),
        ({"epochs": True}, r"setting 'epochs' = True: input should be a valid integer"),
        ({"seed": -1}, r"setting 'seed' = -1: input should be greater than or equal to 0"),
        ({"precision": "half"}, r"setting 'precision' = 'half': input should be 'auto', 'float32' or 'bfloat16'"),
        ({"epoch": 3}, r"no setting 'epoch': did you mean 'epochs'\?.*allowed: architecture, hyperparameters,"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        recipe({**LEAST, **wrong})


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(RecipeError, match="setting 'epochs' is missing"):
        recipe({"architecture": "lens_flow"})


@pytest.mark.slow
def test_torch_is_imported_for_the_sake_of_hyperparameters_alone() -> None:
    code = """
import sys
from orchestrator.learning.recipe import recipe
recipe({"architecture": "lens_flow", "epochs": 5})
assert "torch" not in sys.modules
recipe({"architecture": "lens_flow", "epochs": 5, "hyperparameters": {"hidden": 64}})
assert "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_training_passes_all_counts_unless_its_schedule_depends_on_them() -> None:
    constant = recipe({"architecture": "lens_flow", "epochs": 10})
    ((whole, counts),) = constant.trainings([10, 5])
    assert (whole, counts) == (constant, [5, 10])
    cosine = recipe({"architecture": "lens_flow", "epochs": 10, "schedule": "cosine"})
    assert [(each.epochs, counts) for each, counts in cosine.trainings([5, 10])] == [(5, [5]), (10, [10])]


def test_repeats_and_extensions_are_of_one_family_and_nothing_else_is() -> None:
    values = {"architecture": "lens_flow", "epochs": 10}
    family = recipe(values).family
    for same in ({"seed": 3}, {"split_seed": 4}, {"epochs": 20}):
        assert recipe({**values, **same}).family == family
        assert recipe({**values, **same}).digest != recipe(values).digest
    for other in ({"augment": "none"}, {"learning_rate": 0.01}, {"ema": 0.9}, {"schedule": "cosine"}):
        assert recipe({**values, **other}).family != family


def test_a_text_names_the_augmentation_as_a_study_has_to() -> None:
    def made(augment: object) -> Recipe:
        return recipe({"architecture": "lens_flow", "epochs": 1, "augment": augment})

    assert made("all").augment == TRANSFORMATIONS
    assert made("none").augment == ()
    assert made("dihedral").augment == DIHEDRAL
    assert made("rotate_90,flip_vertical") == made(["flip_vertical", "rotate_90"])
    assert [made(each).settings()["augment"] for each in ("all", "dihedral", "scale")] == ["all", "dihedral", "scale"]
    with pytest.raises(RecipeError, match="transformation 'zoom'"):
        made("zoom")
