"""Runs a finder with OpenVINO, which is faster than torch on a processor, if it gives the same there."""

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
from torch import Tensor
from torch.export import ExportedProgram

from orchestrator.data.whole import whole
from orchestrator.errors import RecipeError
from orchestrator.learning.finder import Scores, find
from orchestrator.learning.onnx import DIFFERENCE, NAMES, SPELT

if TYPE_CHECKING:
    import openvino

__all__ = ["DIFFERENCE", "Engine", "difference", "load", "version"]

PACKAGE = "openvino"

TOOLS = "openvino.tools.ovc"
"""What of it tells its makers by network that it was imported, and is not needed."""


class Engine:
    """A finder as OpenVINO runs it: flux (n, bands, size, size) to scores as `finder.Finder` gives them.

    Several threads may call it at once, each with any number of cutouts.
    """

    def __init__(self, model: openvino.Model, threads: int, calls: int) -> None:
        """Compile a graph for this processor, to compute with so many threads in so many calls at once."""
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the processor has it
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": calls,
            "ENABLE_CPU_PINNING": False,  # others may work on the same cores
            "CPU_DENORMALS_OPTIMIZATION": True,  # see `devices.choose`
        }
        self._compiled = _library().Core().compile_model(model, "CPU", settings)
        self._own = threading.local()

    def __call__(self, flux: Tensor) -> Scores:
        """Score cutouts on the CPU."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        found = self._own.request.infer([flux.contiguous().numpy()], share_inputs=True)
        return {name: torch.from_numpy(found[place].copy()) for place, name in enumerate(NAMES)}


def version() -> str | None:
    """That of OpenVINO, or None where it is not installed."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None


def load(program: Callable[[], ExportedProgram], digest: str, threads: int, calls: int) -> Engine:
    """Convert a graph, or take what was made of it before out of the user's cache.

    Args:
        program: gives it, on the CPU.
        digest: of its file; it tells it apart.
        threads: see `Engine`.
        calls: likewise.

    Raises:
        RecipeError: OpenVINO cannot convert it.
    """
    kept = _folder() / f"{digest}-{version()}.openvino"
    made = _kept(kept)
    if made is None:
        try:
            made = _convert(program())
        except Exception as error:  # of many kinds, for what it has no rule for
            raise RecipeError(f"OpenVINO cannot convert it: {(str(error).splitlines() or [''])[0]}") from error
        _keep(kept, made)
    return Engine(_library().Core().read_model(*made), threads, calls)


def difference(engine: Engine, finder: Callable[[Tensor], Scores], flux: NDArray[np.float32]) -> float:
    """The largest between the scores of cutouts (n, bands, size, size), together and the first alone; see `onnx`."""
    differences = []
    for some in (flux, flux[:1]):
        found, expected = (np.stack(find(each, some, torch.device("cpu"))) for each in (engine, finder))
        differences.append(np.abs(found - expected) / np.maximum(1, np.abs(expected)))
    return float(np.concatenate(differences, axis=1).max())


def _library() -> Any:
    """OpenVINO without its tools."""
    if PACKAGE not in sys.modules:
        sys.modules[TOOLS] = None  # type: ignore[assignment] # what is None there is not imported
        try:
            import openvino  # noqa: F401
        finally:
            del sys.modules[TOOLS]
    return sys.modules[PACKAGE]


def _convert(program: ExportedProgram) -> tuple[bytes, bytes]:
    """A graph as OpenVINO writes it: its operations as XML, and its weights."""
    library = _library()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
    from openvino.frontend.pytorch.torchdynamo.export_decompositions import ops_to_not_decompose
    from torch.export import default_decompositions

    known = set(ops_to_not_decompose())
    spellings = default_decompositions().items()  # type: ignore[no-untyped-call]
    table = {name: how for name, how in spellings if name not in known}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # deprecations inside torch.export are not ours to mend
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
