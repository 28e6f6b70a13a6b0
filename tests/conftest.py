"""What tests share: the real cutouts where they are, and small simulated sets made once a run."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def challenge1() -> Path:
    """The folder of the challenge's real cutouts, `space` and `ground`; they may not be redistributed."""
    folder = ROOT.parent / "shared" / "challenge1"
    if not folder.is_dir():
        pytest.skip(f"the challenge's real cutouts are not at {folder}")
    return folder
