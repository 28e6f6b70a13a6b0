"""Scores as a file: one line per object, with every digit."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 0 to 1, as the training set's share of lenses has it."""
    probability: NDArray[np.float64] = np.exp(-np.logaddexp(0, -logits))
    return probability


def as_list(ids: Sequence[str], labels: NDArray[np.int8], scores: NDArray[np.float64]) -> str:
    """Of somebody else's scores: columns ID, is_lens and logit, which may be of any scale."""
    rows = zip(ids, labels.tolist(), scores.tolist(), strict=True)
    return _csv(["ID", "is_lens", "logit"], rows)


def as_csv(
    ids: NDArray[np.int64],
    labels: NDArray[np.int8],
    logits: NDArray[np.float64],
    calibrated: NDArray[np.float64] | None = None,
) -> str:
    """Columns ID, is_lens, logit and probability; an unknown label (-1) is empty."""
    shown = probabilities(logits) if calibrated is None else calibrated
    columns = zip(*(column.tolist() for column in (ids, labels, logits, shown)), strict=True)
    rows = ((identifier, label if label >= 0 else "", *scores) for identifier, label, *scores in columns)
    return _csv(["ID", "is_lens", "logit", "probability"], rows)


def _csv(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()
