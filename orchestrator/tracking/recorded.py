"""A lens finder as a store holds it: a graph (pt2), and what it was recorded with. MLflow has no part in it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from orchestrator.data.challenge import SETS, ImagingSet
from orchestrator.errors import TrackingError
from orchestrator.learning import pt2

GRAPH = "finder.pt2"


class Model(NamedTuple):
    """A lens finder from the store.

    Attributes:
        finder: raw flux (n, bands, size, size) float32 to `logit` and `probability`, (n,) each.
        set: whose cutouts it takes.
        version: what to write beside its scores: registered name and version, or the run.
        digest: of the file it was loaded from, SHA-256.
        about: what it was recorded with.
        graph: that file.
    """

    finder: fx.GraphModule
    set: ImagingSet
    version: str
    digest: str
    about: Mapping[str, Any]
    graph: bytes

    def on(self, device: torch.device) -> Model:
        """The same on another device, beside this one."""
        return self._replace(finder=pt2.read(BytesIO(self.graph), device))

    @property
    def program(self) -> ExportedProgram:
        """The graph as it was exported, for those who look into it, where the finder is."""
        return pt2.load(BytesIO(self.graph), next(self.finder.buffers()).device)

    @property
    def network(self) -> Callable[[Tensor], Tensor] | None:
        """Normalised images (n, bands, size, size) to logits (n,); None of what is made of several networks."""
        with warnings.catch_warnings(action="ignore"):  # torch's own, of how it looks at its trees
            unflattened = torch.export.unflatten(self.program)
        network: Callable[[Tensor], Tensor] | None = getattr(unflattened, "network", None)
        return network


def read(uri: str, version: str, folder: Path, about: Mapping[str, Any], device: torch.device) -> Model:
    """Read a model onto a device.

    Args:
        uri: what it was asked for as.
        version: see `Model`.
        folder: where its files lie.
        about: what it was recorded with.
        device: where to have it.

    Raises:
        TrackingError: it was not recorded here, or its file was changed since.
    """
    path = folder / "artifacts" / GRAPH
    if "digest" not in about or about.get("set") not in SETS or not path.is_file():
        raise TrackingError(
            f"{uri}: was not recorded here, and is not loaded: a model is a graph ({GRAPH}) with its digest and"
            " set, never pickled code"
        )
    graph = path.read_bytes()
    if hashlib.sha256(graph).hexdigest() != about["digest"]:
        raise TrackingError(f"{uri}: {GRAPH} is not the file that was recorded: its SHA-256 differs; not loaded")
    try:
        finder = pt2.read(BytesIO(graph), device)
    except ValueError as error:
        raise TrackingError(f"{uri}: {GRAPH}: {error}") from None
    return Model(finder, SETS[about["set"]], version, about["digest"], about, graph)
