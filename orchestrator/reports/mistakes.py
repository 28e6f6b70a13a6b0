"""The worst mistakes on a test set, as pictures: what to look at first when a network disappoints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.cutouts import Cutouts
from orchestrator.data.normalise import prepare
from orchestrator.reports.figures import png, portraits

SHOWN = 12
"""Of each kind."""

SHOWN_AS = "zscale"
"""How flux that was not normalised is."""

FALSE_POSITIVES, MISSED = "false positives with the highest scores", "lenses with the lowest scores"


@dataclass(frozen=True)
class Mistake:
    """One object that was scored wrongly: a name of its kind, its identifier, its score and its picture (PNG)."""

    kind: str
    id: int
    logit: float
    picture: bytes


def mistakes(cutouts: Cutouts, rows: NDArray[np.int64], logits: NDArray[np.float64]) -> list[Mistake]:
    """Find and draw the non-lenses with the highest scores, and the lenses with the lowest.

    Args:
        cutouts: the set.
        rows: (n,) those that were tested.
        logits: (n,) their scores.
    """
    labels, found = cutouts.labels[rows], []
    for kind, label, sign in ((FALSE_POSITIVES, 0, -1), (MISSED, 1, 1)):
        of_class = np.flatnonzero(labels == label)
        worst = of_class[np.argsort(sign * logits[of_class], kind="stable")[:SHOWN]]
        bands = [band.name for band in cutouts.set.bands]
        pixels = np.array(cutouts.pixels[rows[worst]])
        pictures = portraits(prepare(pixels, SHOWN_AS)[0] if cutouts.normalisation == "none" else pixels, bands)
        found += [
            Mistake(kind, int(cutouts.ids[rows[place]]), float(logits[place]), png(picture[::-1]))
            for place, picture in zip(worst, pictures, strict=True)
        ]
    return found
