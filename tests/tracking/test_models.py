"""Recorded models: loaded by this project, by MLflow, and by MLflow's server; never by running pickled code."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

import architectures
from orchestrator.data.challenge import SPACE, scan
from orchestrator.data.fits import read_cutout
from orchestrator.errors import TrackingError, Unreachable
from orchestrator.learning.finder import Finder, find
from orchestrator.tracking import direct, models, store
from orchestrator.tracking.recorded import GRAPH
from tests.conftest import ROOT
from tests.faults import watching

pytestmark = pytest.mark.filterwarnings("ignore")

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def run(folder: Path) -> str:
    """A run with a recorded model, in a store of its own, which keeps what is said of its end."""
    store.connect(f"sqlite:///{folder / 'mlflow.db'}")
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.execute("CREATE TABLE said (status)")
        database.execute("CREATE TRIGGER saying AFTER UPDATE ON runs BEGIN INSERT INTO said VALUES (NEW.status); END")
    client = store.MlflowClient()
    experiment = client.create_experiment("models", artifact_location=(folder / "artifacts").as_uri())
    run_id = str(client.create_run(experiment).info.run_id)
    torch.manual_seed(2)
    network = architectures.create("lens_flow", bands=1)
    models.log(run_id, Finder(network, "zscale"), SPACE, {"architecture": "lens_flow", "normalisation": "zscale"})
    return run_id


@pytest.fixture(scope="module")
def flux(small_space: Path) -> np.ndarray:
    return np.stack([read_cutout(each.paths) for each in scan(small_space).objects[:7]])


def test_while_a_model_is_recorded_its_run_is_never_said_to_be_finished(run: str, folder: Path) -> None:
    with sqlite3.connect(folder / "mlflow.db") as database:
        assert {status for (status,) in database.execute("SELECT status FROM said")} == {"RUNNING"}


def test_a_full_disk_is_told_as_such_where_a_model_is_downloaded(run: str) -> None:
    with watching() as watch:
        models.load(f"runs:/{run}/model", CPU)
    copied = [number for number, place in enumerate(watch.places) if place[0] == "shutil.copyfile"]
    assert copied
    with watching(copied[-1]), pytest.raises(Unreachable, match="No space left on device"):
        models.load(f"runs:/{run}/model", CPU)


@pytest.mark.slow
def test_mlflow_loads_it_without_pickle_and_gives_the_same_scores(
    run: str, flux: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    logits, probabilities = find(models.load(f"runs:/{run}/model", CPU).finder, flux, CPU)
    given = mlflow.pyfunc.load_model(f"runs:/{run}/model").predict(flux)
    assert set(given) == {"logit", "probability"}
    np.testing.assert_allclose(given["logit"], logits, atol=1e-6)
    np.testing.assert_allclose(given["probability"], probabilities, atol=1e-6)
    with pytest.raises(mlflow.exceptions.MlflowException, match="shape"):
        mlflow.pyfunc.load_model(f"runs:/{run}/model").predict(flux[:, :, :50])


def test_nothing_of_a_model_is_a_pickle(run: str, tmp_path: Path) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(f"runs:/{run}/model", dst_path=str(tmp_path)))
    for path in (each for each in folder.rglob("*") if each.is_file()):
        assert path.suffix in {".pt2", ".py", ".txt", ".yaml", ""} or path.name == "MLmodel", path
        assert not path.read_bytes().startswith(b"\x80"), path
    with zipfile.ZipFile(folder / "artifacts" / "finder.pt2") as archive:
        assert not any(archive.read(name).startswith((b"\x80", b"PK")) for name in archive.namelist())


@pytest.mark.slow
def test_mlflows_own_server_scores_cutouts_real_ones_where_they_are_too(
    run: str, flux: np.ndarray, tmp_path: Path
) -> None:
    real = ROOT.parent / "shared" / "challenge1" / "space"
    if real.is_dir():
        flux = np.concatenate([flux, [read_cutout(each.paths) for each in scan(real).objects]])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["models", "serve", "-m", f"runs:/{run}/model", "-p", str(port), "--env-manager", "local"]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "mlflow", *command], env=environment, stdout=log, stderr=log)
    try:
        body = json.dumps({"inputs": {"flux": flux.tolist()}}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        answer = None
        for _ in range(120):
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    answer = json.load(response)["predictions"]
                break
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.5)
    finally:
        server.terminate()
        server.wait()
    assert answer is not None, (tmp_path / "log").read_text()
    logits, probabilities = find(models.load(f"runs:/{run}/model", CPU).finder, flux, CPU)
    np.testing.assert_allclose(answer["logit"], logits, atol=1e-5)
    np.testing.assert_allclose(answer["probability"], probabilities, atol=1e-5)


@pytest.mark.slow
def test_its_network_takes_normalised_images(run: str) -> None:
    network = models.load(f"runs:/{run}/model", CPU).network
    assert network is not None
    torch.manual_seed(2)
    images = torch.rand(3, 1, 101, 101)
    torch.manual_seed(2)
    expected = architectures.create("lens_flow", bands=1).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected(images))


def test_a_file_that_was_changed_is_refused(run: str) -> None:
    folder = Path(store.MlflowClient().get_run(run).info.artifact_uri.removeprefix("file://")).parents[1]
    (graph,) = folder.rglob("finder.pt2")
    content = graph.read_bytes()
    try:
        graph.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(TrackingError, match="SHA-256 differs"):
            models.load(f"runs:/{run}/model", CPU)
    finally:
        graph.write_bytes(content)


@pytest.mark.slow
def test_pickled_and_other_peoples_models_are_refused(run: str) -> None:
    client = store.MlflowClient()
    other = client.create_run(client.get_run(run).info.experiment_id).info.run_id
    with mlflow.start_run(run_id=other):
        mlflow.pytorch.log_model(torch.nn.Flatten(), name="model", serialization_format="pickle")
    with pytest.raises(TrackingError, match="never pickled code"):
        models.load(f"runs:/{other}/model", CPU)


@pytest.mark.parametrize(
    ("uri", "told"),
    [("lens-finder", "not a model"), ("models:/none@champion", "none"), ("runs:/0000/model", "0000")],
)
def test_what_is_no_model_is_told_with_what_is_allowed(run: str, uri: str, told: str) -> None:
    with pytest.raises(TrackingError, match=rf"{told}.*allowed: models:/NAME@ALIAS"):
        models.load(uri, CPU)


@pytest.mark.slow
def test_an_alias_that_moves_while_a_model_is_loaded_changes_nothing_of_it(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = store.MlflowClient()
    client.create_registered_model("moving")
    (recorded,) = client.get_run(run).outputs.model_outputs
    place = client.get_logged_model(recorded.model_id).artifact_location
    first, other = (client.create_model_version("moving", place).version for _ in range(2))
    client.set_registered_model_alias("moving", "champion", first)
    told = mlflow.models.get_model_info

    def moves(uri: str) -> object:
        client.set_registered_model_alias("moving", "champion", other)
        return told(uri)

    monkeypatch.setattr(mlflow.models, "get_model_info", moves)
    assert models.load("models:/moving@champion", CPU).version == f"moving/{first}"
    assert models.load("models:/moving@champion", CPU).version == f"moving/{other}"


def test_a_model_beside_its_store_is_found_without_mlflow_and_is_the_same(run: str, flux: np.ndarray) -> None:
    client = store.MlflowClient()
    model_id = client.get_run(run).outputs.model_outputs[0].model_id
    client.create_registered_model("found")
    number = client.create_model_version("found", f"models:/{model_id}", run).version
    client.set_registered_model_alias("found", "champion", number)
    uri = mlflow.get_tracking_uri()
    with torch.inference_mode():
        expected = models.load("models:/found@champion", CPU).finder(torch.from_numpy(flux))
    for asked in ("models:/found@champion", f"models:/found/{number}", f"runs:/{run}/model"):
        there, found = models.load(asked, CPU), direct.load(asked, CPU, uri)
        assert found is not None
        assert found._replace(finder=None) == there._replace(finder=None)  # type: ignore[arg-type]
        with torch.inference_mode():
            assert torch.equal(found.finder(torch.from_numpy(flux))["logit"], expected["logit"])
    client.set_registered_model_alias("found", "left", number)
    client.delete_registered_model_alias("found", "left")
    client.create_registered_model("empty")
    missing = ("models:/found@left", "models:/found/9", "models:/found", "models:/empty/1", "runs:/0/model",
               f"runs:/{run}/other", "model", "models:/found@champion#x", "runs:/../model")  # fmt: skip
    assert [direct.load(each, CPU, uri) for each in missing] == [None] * len(missing)
    assert direct.load("models:/found@champion", CPU, "http://127.0.0.1:1") is None
    client.delete_model_version("found", number)
    assert direct.load(f"models:/found/{number}", CPU, uri) is None


def test_what_lies_elsewhere_or_is_no_store_is_left_to_mlflow(run: str, folder: Path, tmp_path: Path) -> None:
    asked = f"runs:/{run}/model"
    for name, content in (
        ("text.db", b"text"),
        ("empty.db", b""),
        ("torn.db", (folder / "mlflow.db").read_bytes()[:9999]),
    ):
        (tmp_path / name).write_bytes(content)
        assert direct.load(asked, CPU, f"sqlite:///{tmp_path / name}") is None
    with sqlite3.connect(folder / "mlflow.db") as there, sqlite3.connect(tmp_path / "copied.db") as copy:
        there.backup(copy)
    assert direct.load(asked, CPU, f"sqlite:///{tmp_path / 'copied.db'}") is None, "its files were not copied"
    assert direct.load(asked, CPU, f"sqlite:///{folder / 'none.db'}") is None
    assert not (folder / "none.db").exists()


def test_a_changed_graph_is_refused_without_mlflow_too(run: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
    (graph,) = folder.glob(f"artifacts/models/*/artifacts/artifacts/{GRAPH}")
    content = graph.read_bytes()
    try:
        graph.write_bytes(content + b"x")
        told = []
        for load in (direct.load, models.load):
            with pytest.raises(TrackingError, match="its SHA-256 differs; not loaded") as refused:
                load(f"runs:/{run}/model", CPU)
            told.append(str(refused.value))
        assert told[0] == told[1]
    finally:
        graph.write_bytes(content)


@pytest.mark.slow
def test_a_scoring_of_a_model_beside_its_store_imports_nothing_heavy_but_torch(
    run: str, tiny_space: Path, tmp_path: Path
) -> None:
    command = ["score", "--model", f"runs:/{run}/model", "--data", str(tiny_space), "--out", str(tmp_path / "s.csv"),
               "--device", "cpu", "--tracking-uri", mlflow.get_tracking_uri()]  # fmt: skip
    code = (
        f"import sys; from orchestrator.cli import main; main({command}, standalone_mode=False);"
        "print({'mlflow', 'sqlalchemy', 'alembic', 'optuna', 'sympy', 'scipy', 'openvino'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout.splitlines()[0] == "40 cutouts, 40 of them scored"
    assert told.stdout.splitlines()[-1] == "set()"
