"""Whatever a user gets wrong is answered by one line that names it, without a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.calling import Call

pytestmark = pytest.mark.filterwarnings("ignore")

GOOD = """
data = "simulated-space"
architectures = ["lens_flow"]
epochs = [1]
"""


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nothing").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "named", "allowed"),
    [
        ("train --model lens_flaw", "lens_flaw", "lens_flow"),
        ("train --model lens_flow --data nowhere", "nowhere", "simulated-ground"),
        ("train --model lens_flow --data nothing", "nothing", "imageEUC_VIS-<ID>.fits"),
        ("train --model lens_flow --epochs ten", "ten", "whole number"),
        ("train --model lens_flow --epochs 0,5", "epochs", "from 1 on"),
        ("train --model lens_flow --batch-size 1", "batch_size", "2"),
        ("train --model lens_flow --learning-rate -1", "learning_rate", "greater than 0"),
        ("train --model lens_flow --normalisation zskale", "zskale", "zscale"),
        ("train --model lens_flow --split 0.5/0.6/0.1", "0.5/0.6/0.1", "lexactum"),
        ("train --model lens_flow --hyperparameter wide=3", "wide", "hidden"),
        ("train --model lens_flow --hyperparameter hidden=-3", "hidden", "whole number"),
        ("train --model lens_flow --hyperparameter hidden", "hidden", "NAME=VALUE"),
        ("train --model lens_flow --device tpu", "tpu", "cpu"),
        ("train --model lens_flow --tracking-uri ftp://x", "ftp://x", ""),
        ("sweep --study quikstart", "quikstart", "quickstart"),
        ("sweep --study quickstart --storage mysqll://x", "mysqll", ""),
        ("data simulate --set sky --out x", "sky", "ground"),
        ("data check nothing", "nothing", "imageEUC_VIS-<ID>.fits"),
        ("data check nowhere", "nowhere", ""),
        ("data show nothing --out x.png", "nothing", "imageSDSS_R-<ID>.fits"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    call: Call, empty: Path, command: str, named: str, allowed: str
) -> None:
    result = call(*command.split(), expect=2)
    (line,) = [each for each in result.stderr.splitlines() if each.startswith("Error")]
    assert named in line
    assert allowed in line
    assert "Traceback" not in result.output
    stores = ("mlflow.db", "optuna.db")
    assert [each.name for each in empty.iterdir() if not each.name.startswith(stores)] == ["nothing"]


@pytest.mark.parametrize(
    ("line", "named", "allowed"),
    [
        ("epoch = [5]", "epoch", "epochs"),
        ("maximise = 'acu'", "acu", "auc"),
        ("search = 'best'", "search", "tpe"),
        ("[fixed]\nlearnin_rate = 0.1", "learnin_rate", "learning_rate"),
        ("[fixed]\nlearning_rate = 'fast'", "learning_rate", "number"),
        ("[vary]\nlearning_rate = { low = 1e-2, high = 1e-4 }\n", "learning_rate", "not below"),
        ("[vary]\nlearning_rate = { low = 1e-4 }\n", "learning_rate.high", "missing"),
        ("[vary]\nlearning_rate = { low = 1e-4, hihg = 1e-2 }\n", "hihg", "high"),
        ("[vary]\nlearning_rate = { low = 1e-4, high = 1e-2 }\n", "learning_rate", "choices"),
        ("[vary]\nbatch_size = { choices = [8, 1] }\n", "batch_size", "2"),
        ("[hyperparameters.lens_flow]\nhiden = { choices = [8] }\n", "hiden", "hidden"),
        ("[hyperparameters.lens_flow]\nhidden = { choices = [0] }\n", "hidden", "whole number"),
        ("[hyperparameters.wsi_net]\nhidden = { choices = [8] }\n", "wsi_net", "architectures"),
        ("epochs = ", "bad.toml", ""),
    ],
)
def test_a_typo_in_a_study_file_is_named_before_anything_trains(
    call: Call, empty: Path, line: str, named: str, allowed: str
) -> None:
    (empty / "bad.toml").write_text(GOOD + line)
    result = call("sweep", "--study", "bad.toml", expect=2)
    (told,) = [each for each in result.stderr.splitlines() if each.startswith("Error")]
    assert "bad.toml" in told
    assert named in told
    assert allowed in told
    assert not (empty / "data").exists()


@pytest.mark.slow
def test_a_model_that_is_not_there_is_named(call: Call) -> None:
    for uri in ("models:/lens-finder-space@champion", "models:/nobody/3", "runs:/0/model", "champion"):
        result = call("evaluate", "--model", uri, "--data", "nothing", expect=2)
        assert uri in result.stderr
        assert "models:/NAME@ALIAS" in result.stderr
    result = call("table", "--study", "quickstart", expect=2)
    assert "no rows of a study 'quickstart'" in result.stderr
    assert "no rows of a study" in call("registry", "promote", "--study", "quickstart", expect=2).stderr
    assert "No model is registered yet" in call("registry", "list").stdout
