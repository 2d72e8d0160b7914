"""Pictures of a report lie where their sites are."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from napari_hrtem_vae.vae.report import _maps_figure


@pytest.mark.parametrize(
    ("y", "x", "extent"),
    [
        ([2.0, 2.5, 3.0], [1.0, 1.5], [0.75, 1.75, 3.25, 1.75]),
        ([2.0], [1.0, 1.5], [0.75, 1.75, 2.25, 1.75]),
        ([2.0], [1.0], [0.5, 1.5, 2.5, 1.5]),
    ],
)
def test_a_picture_of_a_map_reaches_half_a_step_beyond_the_centres(y, x, extent) -> None:
    maps = np.ones((len(y), len(x), 2), np.float32)
    result = xr.Dataset({"time_correlated_variance": (("y", "x", "latent"), maps)}, {"y": y, "x": x})
    figure = _maps_figure(result, np.array([1, 0]))
    assert figure.axes[0].images[0].get_extent() == pytest.approx(extent)
