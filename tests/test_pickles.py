"""Nothing is unpickled from anywhere: pickles that would make a folder are planted wherever a file is read."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from orchestrator.data import packing, scorelist, sources, uploads
from orchestrator.data.challenge import SPACE
from orchestrator.errors import DataError, OrchestratorError, RecipeError, TrackingError
from orchestrator.learning.recipe import recipe
from orchestrator.learning.training import begin, restore
from orchestrator.reports.scorefile import Parts
from orchestrator.studies import study
from orchestrator.tracking import artifacts, models, store
from tests.conftest import Command

CPU = torch.device("cpu")


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """A command that has not run when the test ends, though it would have."""
    return Command(tmp_path / "ran")


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path: Path, command: Command) -> Any:
    yield
    assert not (tmp_path / "ran").exists()
    with pytest.raises(TypeError):  # mkdir gives None, which is no array, and the like
        len(pickle.loads(pickle.dumps(command)))  # noqa: S301 - it is the test's own
    assert (tmp_path / "ran").exists()


def objects(command: Command) -> Any:
    array = np.empty(1, object)
    array[0] = command
    return array


def archive(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("old", [True, False])
def test_checkpoints(old: bool, command: Command, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"recipe": command, "notes": command}, path, _use_new_zipfile_serialization=not old)
    training = begin(recipe({"architecture": "lens_flow", "epochs": 1, "seed": 0}), 1, 24, CPU)
    with pytest.raises(RecipeError, match="not a readable checkpoint"):
        restore(training, path)


def test_packed_sets(command: Command, tmp_path: Path) -> None:
    rows = {name: objects(command) for name in ("ids", "labels", "masked", "content")}
    (tmp_path / packing.ROWS).write_bytes(archive(**rows))
    (tmp_path / packing.PIXELS).write_bytes(bytes(4 * 101 * 101))
    (tmp_path / packing.ABOUT).write_text(json.dumps({"set": "space"}))
    assert packing.unpack(tmp_path) is None
    (tmp_path / packing.ABOUT).write_bytes(pickle.dumps(command))
    assert packing.unpack(tmp_path) is None


def test_uploads(command: Command) -> None:
    array = io.BytesIO()
    np.save(array, objects(command), allow_pickle=True)
    hidden = io.BytesIO()
    with zipfile.ZipFile(hidden, "w") as file:
        file.writestr("flux.npy", pickle.dumps(command))
    for content in (array.getvalue(), archive(flux=objects(command)), hidden.getvalue(), pickle.dumps(command)):
        with pytest.raises(DataError):
            uploads.from_arrays(content, SPACE, 10**6)
        with pytest.raises(DataError):
            uploads.from_json(content, SPACE)
        (sent,) = uploads.from_fits([uploads.Upload("file", "a.fits", content)], SPACE, 10**9)
        assert sent.bad


def all_good(path: Path) -> None:
    for row in (source := sources.find(path, SPACE)).read(0, len(source)).rows:
        if row.reason:
            raise DataError(row.reason)


def test_data_of_every_kind(command: Command, tmp_path: Path) -> None:
    content = pickle.dumps(command)
    names = ["a.fits", "a.fits.gz", "a.txt", "a.lst", "a.csv", "a.tsv", "a.ecsv", "a.vot", "a.parquet", "a.h5"]
    for name in names:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError):
            all_good(tmp_path / name)
        with pytest.raises(DataError):
            scorelist.read(tmp_path / name, "probs", "is_lens")
    (tmp_path / "study.toml").write_bytes(content)
    with pytest.raises(OrchestratorError):
        study.load(str(tmp_path / "study.toml"))


def test_hdf5_and_parquet_with_pickles_inside(command: Command, tmp_path: Path) -> None:
    content = pickle.dumps(command)
    with h5py.File(tmp_path / "stack.h5", "w") as file:
        file["flux"] = np.ones((1, 101, 101), np.float32)
        file["id"] = np.array([np.void(content)])
        file["flux"].attrs["units"] = np.void(content)
    with pytest.raises(DataError):
        sources.find(tmp_path / "stack.h5", SPACE)
    table = pa.table({"ID": ["1", "2"], "is_lens": [1, 0], "probs": [0.5, 0.25]})
    about = {"pandas": content, "scoring": content, "PYARROW": content}
    pyarrow.parquet.write_table(table.replace_schema_metadata(about), tmp_path / "scores.parquet")
    assert len(scorelist.read(tmp_path / "scores.parquet", "probs", "is_lens").ids) == 2
    parts = Parts(tmp_path / "scores.parquet", {"model": "m"}, 2, lambda *_: "same")
    with pytest.raises(DataError, match="was made with another model"), parts.opened(overwrite=False, resume=True):
        pass


def test_parts_of_scores(command: Command, tmp_path: Path) -> None:
    parts = Parts(tmp_path / "out.parquet", {"model": "m"}, 3, lambda *_: "same")
    with parts.opened(overwrite=False, resume=False):
        (parts.folder / "00000000.parquet").write_bytes(pickle.dumps(command))
        assert parts.missing() == [range(3)]


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run of a store of this test."""
    store.connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    client = store.MlflowClient()
    experiment = client.create_experiment("own", artifact_location=(tmp_path / "artifacts").as_uri())
    return str(client.create_run(experiment).info.run_id)


@pytest.mark.filterwarnings("ignore")
def test_files_of_runs(command: Command, run: str) -> None:
    artifacts.log_files(run, {"trained_on.npz": archive(ids=objects(command), content=objects(command))})
    with pytest.raises(TrackingError, match=r"trained_on\.npz"):
        artifacts.objects(run, "trained_on.npz")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_models(command: Command, run: str, tmp_path: Path) -> None:
    (tmp_path / "finder.pt2").write_bytes(pickle.dumps(command))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "evil.py").write_text(f"import os; os.mkdir({str(command.folder)!r})")
    about = {"set": "space", "digest": models.finders.digest(tmp_path / "finder.pt2")}

    class Evil(store.mlflow.pyfunc.PythonModel):  # type: ignore[name-defined,misc]
        """Pickled with the command in it."""

        inside = command

        def predict(self, context: Any, model_input: Any) -> Any:
            return model_input

    with store.mlflow.start_run(run_id=run):
        store.mlflow.pyfunc.log_model(
            name="model",
            python_model=Evil(),
            artifacts={"finder": str(tmp_path / "finder.pt2")},
            code_paths=[str(tmp_path / "code")],
            metadata=about,
            pip_requirements=[],
        )
    with pytest.raises(TrackingError, match="not an exported graph"):
        models.load(f"runs:/{run}/model", CPU)
