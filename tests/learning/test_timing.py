"""Timing: what is counted, what is left out, and what is said of it."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orchestrator.learning import timing
from orchestrator.learning.timing import time_end_to_end, time_network, without_outliers

CPU = torch.device("cpu")


class SlowAtFirst(nn.Module):
    """Half a second for the first batch, a hundredth of that afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        time.sleep(0.005 if self.modes else 0.5)
        self.modes.append(self.training)
        assert torch.is_inference_mode_enabled()
        return images.sum(dim=(1, 2, 3))


def test_the_network_alone_is_timed_per_image_after_a_warm_up() -> None:
    network = SlowAtFirst().train()
    start = time.perf_counter()
    timed = time_network(network, torch.zeros(4, 1, 8, 8), repeats=1)
    whole = time.perf_counter() - start
    assert 0.005 / 4 <= timed.seconds <= (whole - 0.5) / 4
    assert (timed.batch_size, timed.repeats, timed.device) == (4, 1, "cpu")
    assert network.modes == [False, False]
    assert network.training


def test_end_to_end_every_repeat_reads_anew() -> None:
    reads = []

    def read() -> np.ndarray:
        reads.append(time.sleep(0.01))
        return np.zeros((5, 1, 8, 8), np.float32)

    timed = time_end_to_end(read, SlowAtFirst().train(), CPU, repeats=3)
    assert timed.seconds >= 0.015 / 5
    assert (timed.batch_size, timed.repeats, timed.device) == (5, 3, "cpu")
    assert len(reads) >= 4


def test_a_slow_network_is_repeated_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.zeros(4, 1, 8, 8)
    assert time_network(SlowAtFirst(), images).repeats == 5
    monkeypatch.setattr(timing, "ENOUGH", 0.1)
    assert time_network(SlowAtFirst(), images).repeats == timing.FEWEST == 3


def test_a_disturbed_repeat_is_left_out() -> None:
    seconds = np.array([1.0, 1.01, 0.99, 5.0, 1.02])
    np.testing.assert_array_equal(without_outliers(seconds), [1.0, 1.01, 0.99, 1.02])


@pytest.mark.parametrize("seconds", [[1.0], [1.0, 1.0, 1.0], [1.0, 2.0]])
def test_what_does_not_stand_out_is_kept(seconds: list[float]) -> None:
    np.testing.assert_array_equal(without_outliers(np.array(seconds)), seconds)


def test_repeats_of_a_normal_law_are_nearly_all_kept() -> None:
    seconds = np.random.default_rng(0).normal(1, 0.1, 10_000)
    assert 0.995 < len(without_outliers(seconds)) / 10_000 < 0.999  # 99.73 % lie within three standard deviations
