"""A lens finder as it is recorded: raw flux in, logit and probability out, in one graph that needs torch alone.

Whatever is put around a network, a mean over orientations or over networks, or a calibration, takes and gives the same.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from orchestrator.learning import pt2
from orchestrator.learning.inference import batches, evaluating
from orchestrator.learning.intake import prepare

Scores = dict[str, Tensor]
"""`logit` and `probability`, (n,) float32 each."""

LARGEST = 65536
"""Cutouts that an exported finder takes at once at most."""


class Finder(nn.Module):
    """A network with its normalisation; finders of one `kind`, a text, differ in their weights alone."""

    def __init__(self, network: nn.Module, normalisation: str, kind: str = "") -> None:
        super().__init__()
        # A copy, since a network is used on where it came from; in this format it is up to half as fast again on CPUs.
        self.network = copy.deepcopy(network).cpu().eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.normalisation, self.kind = normalisation, kind
        self.training = False

    def forward(self, flux: Tensor) -> Scores:
        """Score cutouts (n, bands, size, size) float32, as their files hold them."""
        return uncalibrated(self.network(prepare(flux, self.normalisation)))


def uncalibrated(logit: Tensor) -> Scores:
    """What a logit says by itself: the probability at the training set's share of lenses."""
    return {"logit": logit, "probability": logit.sigmoid()}


_last: dict[tuple[str, int, int], ExportedProgram] = {}
"""The graph of the last finder that had a kind: to trace it takes longer than all else about it."""


def export(finder: nn.Module, bands: int, size: int, path: Path) -> None:
    """Write a finder as pt2; it takes any number of cutouts at once."""
    key = (str(getattr(finder, "kind", "")), bands, size)
    program = _last.get(key)
    if program is None:
        program = _traced(finder, bands, size)
        if key[0] and not program.constants:  # these are no weights, and would stay
            _last.clear()
            _last[key] = program
    else:
        with torch.no_grad():
            for name, value in finder.state_dict().items():
                program.state_dict[name].copy_(value)
    pt2.save(program, path)


def _traced(finder: nn.Module, bands: int, size: int) -> ExportedProgram:
    example = torch.zeros(2, bands, size, size)  # of one alone the number would be frozen
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # deprecations inside torch.export are not ours to mend
        return torch.export.export(finder, (example,), dynamic_shapes=({0: Dim("n", min=1, max=LARGEST)},))


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(
    finder: Callable[[Tensor], Scores],
    flux: NDArray[np.float32],
    device: torch.device,
    *,
    rows: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score many cutouts, batch by batch.

    Args:
        finder: as exported.
        flux: (n, bands, size, size) as the files hold it; may be a memory map.
        device: where the finder is.
        rows: which of them, by default all.

    Returns:
        Logits and probabilities, (rows,) float64 each.
    """
    with evaluating(finder), torch.inference_mode():
        found = [
            torch.stack([each["logit"], each["probability"]]).cpu().numpy()
            for each in map(finder, batches(flux, device, rows))
        ]
    both = np.concatenate([np.empty((2, 0)), *found], axis=1)
    return both[0], both[1]


def largest_difference(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Between scores and those they should be, relative where these are above 1; NaN where any is."""
    return float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())


def half(logits: NDArray[np.float64], probabilities: NDArray[np.float64]) -> float:
    """The logit above which probabilities are above 0.5; of a finder that was not calibrated 0 does as well."""
    return float(logits[probabilities <= 0.5].max(initial=-np.inf))
