from __future__ import annotations

import math
import os
from operator import call

import pytest

from orchestrator.data.processes import spread
from orchestrator.errors import DataError


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    assert list(spread(math.factorial, [3000, 1, 2, 0], workers)) == [math.factorial(n) for n in (3000, 1, 2, 0)]


def test_one_job_or_one_process_needs_no_other_process() -> None:
    assert list(spread(call, [os.getpid], 8)) == [os.getpid()]
    assert list(spread(call, [os.getpid] * 2, 1)) == [os.getpid()] * 2
    assert list(spread(call, [])) == []


def test_several_jobs_are_done_by_children_of_this_process() -> None:
    assert list(spread(call, [os.getppid] * 3, 2)) == [os.getpid()] * 3


def test_what_a_job_raises_is_raised_here() -> None:
    results = spread(math.sqrt, [4.0, -1.0], 2)
    assert next(results) == 2
    with pytest.raises(ValueError, match="math domain error"):
        next(results)


def test_a_process_that_is_killed_ends_the_work_with_a_clear_error() -> None:
    with pytest.raises(DataError, match="one of 2 processes was killed; is there memory enough"):
        list(spread(os._exit, [1, 1], 2))
