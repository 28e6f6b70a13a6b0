"""Scores as a file: one line per object, with every digit."""

from __future__ import annotations

import csv
import io

import numpy as np
from numpy.typing import NDArray


def probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 0 to 1, as the training set's share of lenses has it."""
    probability: NDArray[np.float64] = np.exp(-np.logaddexp(0, -logits))
    return probability


def as_csv(ids: NDArray[np.int64], labels: NDArray[np.int8], logits: NDArray[np.float64]) -> str:
    """Columns ID, is_lens, logit and probability; an unknown label (-1) is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["ID", "is_lens", "logit", "probability"])
    columns = (ids, labels, logits, probabilities(logits))
    for identifier, label, logit, probability in zip(*(column.tolist() for column in columns), strict=True):
        writer.writerow([identifier, label if label >= 0 else "", logit, probability])
    return text.getvalue()
