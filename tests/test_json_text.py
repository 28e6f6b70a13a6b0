"""JSON that any reader takes."""

from __future__ import annotations

import json
import re
from typing import Never

import numpy as np

from orchestrator.json_text import as_json
from tests.conftest import ROOT


def strictly(text: str) -> object:
    """Read JSON, and refuse the words that Python's reader takes and others do not."""

    def refuse(word: str) -> Never:
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


def test_what_is_no_finite_number_is_null() -> None:
    value = {"a": [1.5, float("nan"), np.float64("inf")], "b": {"c": (-float("inf"), "NaN", 2)}, "d": None}
    assert strictly(as_json(value)) == {"a": [1.5, None, None], "b": {"c": [None, "NaN", 2]}, "d": None}


def test_all_json_is_written_by_one_function() -> None:
    loose = {
        f"{path.name}: {line.strip()}"
        for path in (ROOT / "orchestrator").rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"json\.dumps?\(|log_dict\(", line) and "allow_nan=False" not in line
    }
    assert not loose
