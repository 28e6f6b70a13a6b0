"""Files that are attached to runs: how each is written and read back.

A copied run has none of its own; those of the run that it was copied from are found in their place.
"""

from __future__ import annotations

import base64
import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from orchestrator.data import scorelist
from orchestrator.data.cutouts import Objects
from orchestrator.data.scorelist import Scores
from orchestrator.errors import TrackingError
from orchestrator.json_text import as_json
from orchestrator.learning.completeness import Bin
from orchestrator.learning.metrics import Roc
from orchestrator.reports.features import Picture, page
from orchestrator.reports.figures import roc_page, roc_points
from orchestrator.reports.mistakes import Mistake
from orchestrator.reports.page import page as write_page
from orchestrator.reports.search import Search, networks
from orchestrator.tracking import failures
from orchestrator.tracking.store import MlflowClient, mlflow, run_of

ORIGINAL = "copy_of"
"""Tag of a run that was copied from another study: the run whose files are its own too."""


def log_text(run_id: str, text: str, name: str) -> None:
    """Attach a file."""
    MlflowClient().log_text(run_id, text, name)


def log_file(run_id: str, path: Path, name: str) -> None:
    """Attach a file under a name."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / name
        shutil.copyfile(path, copy)
        MlflowClient().log_artifact(run_id, str(copy))


def log_files(run_id: str, files: Mapping[str, bytes], folder: str | None = None) -> None:
    """Attach files, in a folder or not."""
    with tempfile.TemporaryDirectory() as written:
        for name, content in files.items():
            (Path(written) / name).write_bytes(content)
        MlflowClient().log_artifacts(run_id, written, folder)


def has(run_id: str, name: str) -> bool:
    """Whether a file is attached to a run, or to the one that it was copied from."""
    return _holder(run_id, name) is not None


def text(run_id: str, name: str) -> str:
    """A file that is attached to a run.

    Raises:
        TrackingError: it is not there.
    """
    with tempfile.TemporaryDirectory() as folder:
        return download(run_id, name, Path(folder)).read_text()


def download(run_id: str, name: str, folder: Path) -> Path:
    """Copy a file that is attached to a run, or to the one that it was copied from, into a folder.

    Raises:
        TrackingError: it is not there.
    """
    try:
        holder = _holder(run_id, name)
        if holder is not None:
            root = run_of(
                holder
            ).info.artifact_uri  # of a run's files by its identifier MLflow does not say what failed
            return Path(mlflow.artifacts.download_artifacts(f"{root}/{name}", dst_path=str(folder)))
    except Exception as error:
        if not failures.absent(error):
            raise failures.told(error) or error from None
    raise TrackingError(f"{run_id}: has no {name}")


def original(run_id: str) -> str:
    """The run itself, or the one that it was copied from."""
    before = run_of(run_id).data.tags.get(ORIGINAL)
    return original(before) if before else run_id


def log_objects(run_id: str, name: str, objects: Objects) -> None:
    """Attach which objects something was done with, as `trained_on.npz` or `tested_on.npz`."""
    file = io.BytesIO()
    np.savez_compressed(file, ids=objects.ids, content=objects.content)
    log_files(run_id, {name: file.getvalue()})


def objects(run_id: str, name: str) -> Objects | None:
    """Which objects a row was trained or tested on, `trained_on.npz` or `tested_on.npz`; its training may say it.

    Raises:
        TrackingError: the file is damaged.
    """
    for each in (run_id, run_of(run_id).data.tags.get("mlflow.parentRunId", run_id)):
        if has(each, name):
            with tempfile.TemporaryDirectory() as folder:
                path = download(each, name, Path(folder))
                try:
                    with np.load(path, allow_pickle=False) as arrays:
                        return Objects(arrays["ids"], arrays["content"])
                except Exception as error:  # damage shows in many kinds, zipfile's and numpy's among them
                    raise TrackingError(f"{each}: {name} is damaged: {str(error).partition(chr(10))[0]}") from None
    return None


def scores(run_id: str, name: str = "scores.csv") -> Scores:
    """Every score of a row or an evaluation, of the objects with a label.

    Raises:
        TrackingError: none are attached.
    """
    with tempfile.TemporaryDirectory() as folder:
        return scorelist.read(download(run_id, name, Path(folder)), "logit", "is_lens")


def log_roc(run_id: str, curve: Roc, title: str) -> None:
    """Attach the curve as a page and as points."""
    log_text(run_id, roc_page(curve, title), "roc.html")
    log_text(run_id, as_json(roc_points(curve)), "roc.json")


def log_completeness(run_id: str, binned: Mapping[str, Mapping[str, list[Bin]]]) -> None:
    """Attach which lenses were found, by how large and bright they are."""
    plain = {
        name: {metric: [asdict(each) for each in bins] for metric, bins in both.items()}
        for name, both in binned.items()
    }
    log_text(run_id, as_json(plain), "completeness.json")


def log_mistakes(run_id: str, worst: Sequence[Mistake], title: str) -> None:
    """Attach the worst mistakes, as a page for a person and once more for the report."""
    shown = [
        Picture(f"{each.id}.png", f"{each.id}: {each.kind}, logit {each.logit:.2f}", each.picture) for each in worst
    ]
    log_text(
        run_id,
        page(title, "The highest-scored non-lenses and the lowest-scored lenses of the test set.", shown),
        "mistakes.html",
    )
    plain = [{**asdict(each), "picture": base64.b64encode(each.picture).decode()} for each in worst]
    log_text(run_id, as_json(plain), "mistakes.json")


def log_search(run_id: str, search: Search, study: str, description: str) -> None:
    """Attach the figures of a search, as a page for a person and once more for the report."""
    log_text(run_id, write_page(f"Search of study {study}", description, networks(search)), "search.html")
    log_text(run_id, as_json(search), "search.json")


def _holder(run_id: str, name: str) -> str | None:
    """The run that a file is attached to: this one, or that which it was copied from."""
    folder = name.rpartition("/")[0] or None
    if any(each.path == name for each in MlflowClient().list_artifacts(run_id, folder)):
        return run_id
    before = run_of(run_id).data.tags.get(ORIGINAL)
    return _holder(before, name) if before else None
