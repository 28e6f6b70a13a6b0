"""LEXACTUM itself, on TensorFlow 2.15: what was once measured of it, scaled to the machine at hand.

It is not installed here. Its figures are of two cores of an AMD EPYC with AVX512-BF16, where torch's products of
float32 matrices reach 200 GFLOP/s; they are multiplied by what such products reach here. That is an estimate:
convolutions need not scale as products do, and those of TensorFlow reached 300 GFLOP/s there.
"""

from __future__ import annotations

import time

import torch

TRAINED = {
    "lens_flow": 540,
    "lastro_epfl": 276,
    "cas_swinburne": 110,
    "lens_finder": 159,
    "wsi_net": 72,
    "cmu_deeplens": 26,
}
"""Images a second of Space in training with augmentation, at its best batch size."""

SCORED = {
    "lens_flow": 668,
    "lastro_epfl": 593,
    "cas_swinburne": 219,
    "lens_finder": 386,
    "wsi_net": 292,
    "cmu_deeplens": 68,
}
"""Cutouts a second of Space from FITS files."""

HEADER = ["the original, scaled", "best of ours, ratio"]

GFLOPS = 200.0
SIDE, REPEATS = 4096, 5


def scale() -> float:
    """How fast this machine multiplies matrices of float32, as a share of that one."""
    one = torch.randn(SIDE, SIDE)
    torch.mm(one, one)
    begin = time.perf_counter()
    for _ in range(REPEATS):
        torch.mm(one, one)
    return 2 * SIDE**3 * REPEATS / (time.perf_counter() - begin) / 1e9 / GFLOPS


def cells(measured: dict[str, int], network: str, imaging: str, scaled: float, best: float) -> list[str]:
    """The original's rate and by how much the best of ours exceeds it; nothing where it was not measured."""
    if imaging != "space":
        return ["", ""]
    original = measured[network] * scaled
    return [f"{original:,.0f}", f"{best / original:.2f}"]
