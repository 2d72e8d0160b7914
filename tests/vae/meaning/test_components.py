"""Principal components of windows, against a singular value decomposition."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hrtem_vae.vae.meaning.components import principal_components


@pytest.mark.parametrize(("pixels", "count", "found"), [(36, 5, 5), (36, 64, 36)])
def test_the_strongest_come_first_as_many_as_there_are(pixels: int, count: int, found: int) -> None:
    rng = np.random.default_rng(3)
    windows = (rng.normal(size=(400, pixels)) * np.linspace(1, 9, pixels) + 5).astype(np.float32)
    components = principal_components(windows, count)
    assert components.axes.shape == (pixels, found)
    _, strengths, axes = np.linalg.svd(windows.astype(np.float64) - windows.mean(0), full_matrices=False)
    overlap = np.abs(axes[:found] @ components.axes)
    np.testing.assert_allclose(overlap, np.eye(found), atol=2e-3)
    encoded = (windows - components.mean) @ components.axes
    np.testing.assert_allclose(np.linalg.norm(encoded, axis=0), strengths[:found], rtol=1e-4)
