"""Small files of every kind, written by the libraries that own the formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture
def frames() -> np.ndarray:
    """(7, 20, 24) uint16, every frame another."""
    return np.random.default_rng(0).integers(0, 60000, (7, 20, 24)).astype(np.uint16)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real microscope files; the test skips where they are not at hand."""
    if not SHARED.is_dir():
        pytest.skip("the real data (../shared/data) are not here")
    return SHARED
