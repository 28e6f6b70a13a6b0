"""Runs a finder with OpenVINO, which is faster than torch on a processor, if it gives the same there.

What comes before all weights, the normalisation, stays with torch, which sorts and finds medians in a fraction of the
time.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from orchestrator.data.whole import whole
from orchestrator.errors import RecipeError
from orchestrator.learning.finder import LARGEST, Scores, find, largest_difference
from orchestrator.learning.onnx import DIFFERENCE, NAMES, SPELT

if TYPE_CHECKING:
    import openvino

__all__ = ["DIFFERENCE", "Engine", "difference", "load", "split", "version"]

FORMAT = "1"
"""Of what is kept: raise it when a graph is converted otherwise."""

PACKAGE = "openvino"

TOOLS = "openvino.tools.ovc"
"""What of it tells its makers by network that it was imported, and is not needed."""


class Engine:
    """A finder that OpenVINO runs: flux (n, bands, size, size) to scores as `finder.Finder` gives them.

    Several threads may call it at once, each with any number of cutouts.
    """

    def __init__(self, intake: fx.GraphModule, model: openvino.Model, threads: int, calls: int) -> None:
        """Compile what follows the intake for this processor: so many threads, and calls at once."""
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the processor has it
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": calls,
            "ENABLE_CPU_PINNING": False,  # others may work on the same cores
            "CPU_DENORMALS_OPTIMIZATION": True,  # see `devices.choose`
        }
        self._compiled = _library().Core().compile_model(model, "CPU", settings)
        self._intake, self._own = intake, threading.local()

    def __call__(self, flux: Tensor) -> Scores:
        """Score cutouts on the CPU."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        images = [each.contiguous().numpy() for each in self._intake(flux)]
        found = self._own.request.infer(images, share_inputs=True)
        return {name: torch.from_numpy(found[place].copy()) for place, name in enumerate(NAMES)}


def version() -> str | None:
    """That of OpenVINO, or None where it is not installed."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None


def load(finder: fx.GraphModule, digest: str, shape: tuple[int, ...], threads: int, calls: int) -> Engine:
    """Convert a graph, or take what was made of it before out of the user's cache.

    Args:
        finder: as `pt2.read` reads it, on the CPU.
        digest: of its file; it tells it apart.
        shape: of a cutout, (bands, size, size).
        threads: see `Engine`.
        calls: likewise.

    Raises:
        RecipeError: OpenVINO cannot convert it, or cannot run here.
    """
    intake, rest = split(finder)
    kept = _folder() / f"{digest}-{FORMAT}-{version()}.openvino"
    made = _kept(kept)
    try:
        if made is None:
            made = _convert(rest, intake(torch.zeros(2, *shape)))  # of one alone the number would be frozen
            _keep(kept, made)
        return Engine(intake, _library().Core().read_model(*made), threads, calls)
    except Exception as error:  # of many kinds, for what it has no rule for, and where it was installed badly
        raise RecipeError(f"OpenVINO cannot run it: {(str(error).splitlines() or [''])[0]}") from error


def split(finder: fx.GraphModule) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Part a graph into what needs no weights, which gives a tuple, and the rest, which takes what is in there."""
    before: dict[fx.Node, fx.Node] = {}
    after: dict[fx.Node, fx.Node] = {}
    graphs = fx.Graph(), fx.Graph()
    for node in finder.graph.nodes:
        if node.op == "placeholder" or (
            node.op == "call_function" and all(each in before for each in node.all_input_nodes)
        ):
            before[node] = graphs[0].node_copy(node, before.__getitem__)
    between = [node for node in before if any(user not in before for user in node.users)]
    graphs[0].output(tuple(before[node] for node in between))
    for place, node in enumerate(between):
        after[node] = graphs[1].placeholder(f"images_{place}")
    for node in finder.graph.nodes:
        if node not in before:
            after[node] = graphs[1].node_copy(node, after.__getitem__)
    return fx.GraphModule(finder, graphs[0]), fx.GraphModule(finder, graphs[1])


def difference(engine: Engine, finder: Callable[[Tensor], Scores], flux: NDArray[np.float32]) -> float:
    """The largest between the scores of cutouts (n, bands, size, size), together and the first alone; see `onnx`."""
    both = [
        np.concatenate([np.stack(find(each, some, torch.device("cpu"))) for some in (flux, flux[:1])], axis=1)
        for each in (engine, finder)
    ]
    return largest_difference(*both)


def _library() -> Any:
    """OpenVINO without its tools."""
    if PACKAGE not in sys.modules:
        sys.modules[TOOLS] = None  # type: ignore[assignment] # what is None there is not imported
        try:
            import openvino  # noqa: F401
        finally:
            del sys.modules[TOOLS]
    return sys.modules[PACKAGE]


def _convert(network: fx.GraphModule, example: tuple[Tensor, ...]) -> tuple[bytes, bytes]:
    """A graph as OpenVINO writes it: its operations as XML, and its weights."""
    library = _library()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
    from openvino.frontend.pytorch.torchdynamo.export_decompositions import ops_to_not_decompose
    from torch.export import Dim, default_decompositions

    known = set(ops_to_not_decompose())
    spellings = default_decompositions().items()  # type: ignore[no-untyped-call]
    table = {name: how for name, how in spellings if name not in known}
    number = {0: Dim("n", min=1, max=LARGEST)}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder, torch.no_grad():
        warnings.simplefilter("ignore")  # deprecations inside torch.export are not ours to mend
        program = torch.export.export(network, example, dynamic_shapes=((number,) * len(example)))
        spelt = program.run_decompositions({**table, **SPELT}).module()
        decoder = TorchFXPythonDecoder(spelt, dynamic_shapes=True)  # which has to outlive what is made of it
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
        files = Path(folder) / "graph.xml", Path(folder) / "graph.bin"
        library.serialize(model, *map(str, files))
        operations, weights = (file.read_bytes() for file in files)
    return operations, weights


def _folder() -> Path:
    """Where users' programs keep what can be made again (XDG Base Directory Specification)."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - a Path may raise
    return Path(home) / "lens-orchestrator"


def _keep(path: Path, made: tuple[bytes, bytes]) -> None:
    operations, weights = made
    content = len(operations).to_bytes(8, "little") + operations + weights
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as partial:
            partial.write_bytes(hashlib.sha256(content).digest() + content)
    except OSError:
        pass  # it is made again each time


def _kept(path: Path) -> tuple[bytes, bytes] | None:
    try:
        file = path.read_bytes()
    except OSError:
        return None
    content = file[32:]
    if hashlib.sha256(content).digest() != file[:32]:
        return None
    end = 8 + int.from_bytes(content[:8], "little")
    return content[8:end], content[end:]
