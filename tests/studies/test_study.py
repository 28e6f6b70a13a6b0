"""Study files: those that come along, and what one says."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from orchestrator.errors import StudyError
from orchestrator.studies import study as studies

SEARCH = """
data = "simulated-space"
architectures = ["lens_flow", "wsi_net"]
epochs = [5, 10]
maximise = "tpr10"
search = "random"
trials = 40
[fixed]
seed = 7
[vary]
learning_rate = { low = 1e-4, high = 1e-2, log = true }
batch_size = { low = 8, high = 64 }
normalisation = { choices = ["zscale", "asinh"] }
[hyperparameters.wsi_net]
hidden = { choices = [128, 256] }
"""


@pytest.fixture
def searching(tmp_path: Path) -> studies.Study:
    file = tmp_path / "searching.toml"
    file.write_text(SEARCH)
    return studies.load(str(file))


@pytest.mark.parametrize("name", studies.names())
def test_every_study_that_comes_along_is_valid_and_says_what_it_is_for(name: str) -> None:
    study = studies.load(name)
    assert study.name == name
    assert study.description
    for architecture in study.architectures:
        assert study.wanted(architecture) >= 1


def test_what_is_drawn_lies_within_the_ranges_and_the_rest_is_fixed(searching: studies.Study) -> None:
    search = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    rates, batches, normalisations = set(), set(), set()
    for _ in range(60):
        recipe = searching.suggest(search.ask(), "lens_flow")
        assert 1e-4 <= recipe.learning_rate <= 1e-2
        assert 8 <= recipe.batch_size <= 64
        assert (recipe.architecture, recipe.epochs, recipe.seed) == ("lens_flow", 10, 7)
        assert recipe.hyperparameters == {}
        rates.add(recipe.learning_rate)
        batches.add(recipe.batch_size)
        normalisations.add(recipe.normalisation)
    assert len(rates) == 60
    assert len(batches) > 20
    assert normalisations == {"zscale", "asinh"} == set(searching.normalisations())
    assert min(rates) < 5e-4  # a logarithmic range draws its lowest tenth often


def test_a_hyperparameter_varies_for_its_own_network_alone(searching: studies.Study) -> None:
    search = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = {searching.suggest(search.ask(), "wsi_net").hyperparameters["hidden"] for _ in range(20)}
    assert drawn == {128, 256}


def test_a_grid_holds_every_combination_once(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    choices = "batch_size = { choices = [8, 16, 32] }\nseed = { choices = [1, 2] }\n"
    file.write_text(f'data = "x"\narchitectures = ["lens_flow"]\nepochs = [1]\n[vary]\n{choices}')
    grid = studies.load(str(file)).grid("lens_flow")
    assert sorted((each["batch_size"], each["seed"]) for each in grid) == [(b, s) for b in (8, 16, 32) for s in (1, 2)]


def test_a_metric_of_which_less_is_better_is_minimised(tmp_path: Path) -> None:
    file = tmp_path / "low.toml"
    file.write_text('data = "x"\narchitectures = ["lens_flow"]\nepochs = [1]\nmaximise = "fpr"\n')
    assert studies.load(str(file)).direction == "minimize"


def test_a_study_in_the_working_directory_comes_before_one_that_comes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "search_spaces"
    folder.mkdir()
    (folder / "quickstart.toml").write_text('data = "x"\narchitectures = ["wsi_net"]\nepochs = [3]\n')
    assert studies.load("quickstart").architectures == ["wsi_net"]


def test_a_study_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(StudyError, match="did you mean 'quickstart'"):
        studies.load("quickstrat")


@pytest.mark.parametrize(
    "asks", ["[fixed]\nsplit = 'official'", "[vary]\nsplit = { choices = ['official', 'lexactum'] }"]
)
def test_the_official_split_needs_a_set_to_test_on_from_the_file_or_the_command_line(asks: str, tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text(f"data = 'here'\narchitectures = ['lens_flow']\nepochs = [1]\n{asks}\n")
    study = studies.load(str(file))
    assert study.on("there", "elsewhere").test_data == "elsewhere"
    for nothing in (None, ""):
        with pytest.raises(StudyError, match=r"study 'one': split 'official' needs a set to test on \(--test-data"):
            study.on(None, nothing)
    file.write_text(f"test_data = 'its own'\n{file.read_text()}")
    assert studies.load(str(file)).on(None, None).test_data == "its own"
