"""Maps of what happens where, from a latent field alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import VideoShapeError
from ..progress import run
from .evidence import SITES_PER_WINDOW
from .layout import UnitOfLength, kinds_steps
from .meaning.reading import SiteMoments, every_site
from .model import Model, load_model
from .statistics import maps_dataset, site_maps_steps


def map_dynamics(
    field: xr.DataArray,
    *,
    model: Model | str | Path | None = None,
    active: NDArray[np.bool_] | None = None,
    sites_per_window: float = SITES_PER_WINDOW,
    false_discovery_rate: float = 0.05,
) -> xr.Dataset:
    """Maps of what happens where, from a latent field.

    Parameters
    ----------
    field : DataArray (time, y, x, latent)
        Latents over time and sites.
    model : Model, str or path, optional
        What made the field, or its name or file. Fields that `encode` made with a model that has a file tell
        it themselves.
    active : ndarray (latent,), bool, optional
        Latents that count as evidence in `change`; all by default.
    sites_per_window : float
        Width of a window in distances of sites; 64 px at a step of 8 by default.
    false_discovery_rate : float
        At which a change is significant, and its kind told.

    Returns
    -------
    Dataset
        Over (y, x, latent): `variance` (population variance over time), `spearman` (ρ of the latent
        against time; NaN where it is constant), `time_correlated_variance` (ρ · variance)²,
        `significance` (−log10 of the false-discovery rate, over all sites and latents). Over (y, x):
        `change_p`, the probability of as much change over all latents where nothing happens, and
        `change`, the evidence that anything changed here (−log10 of its false-discovery rate over sites).
        With a model also, over (y, x), `kind` with `kind_confidence`, `kind_probability` and the read-outs
        of `read_changes_steps`, `edge_shift` in the unit of y.

    Raises
    ------
    VideoShapeError
        Other dims, or fewer than two usable frames.

    Notes
    -----
    What still sites do is learnt from the field itself, see `evidence.change_p`. Where it does not tell
    (fewer than 8 windows side by side, fewer than 8 frames, or all of it moves), `change_p` combines the
    p-values of the latents' ρ: against no trend at all, so that film which evolves counts as change. Fewer
    than 4 frames give NaN.

    References
    ----------
    Wang et al. 2023, Fig. 4 and Methods (time-correlated variance).
    """
    if tuple(field.dims) != ("time", "y", "x", "latent"):
        raise VideoShapeError(
            f"The field has the axes {field.dims}; give (time, y, x, latent) as encode returns it."
        )
    values = np.asarray(field.values, np.float32)
    maps, p = run(site_maps_steps(values))
    coords = {name: field.coords[name] for name in ("y", "x", "latent") if name in field.coords}
    found = maps_dataset(maps, p, coords, active, sites_per_window)
    made_by = _model_of(field, model)
    if made_by is None:
        return found
    step = round(made_by.card.window / sites_per_window)
    known = SiteMoments.empty(field.shape[1:3], field.shape[3], every_site(made_by.card.window, step))
    known.take(values)
    length = UnitOfLength.between_sites(field, step)
    noise = maps["noise"].mean(-1)
    kinds = kinds_steps(found, noise, known, len(field), made_by, step, length, false_discovery_rate)
    return found.merge(run(kinds))


def _model_of(field: xr.DataArray, model: Model | str | Path | None) -> Model | None:
    """The model of a field: as given, or as `encode` noted it, where that file is there and unchanged."""
    if isinstance(model, Model):
        return model
    if model is not None:
        return load_model(model)
    noted = field.attrs.get("model_file")
    if noted is None or not Path(noted).is_file():
        return None
    loaded = load_model(noted)
    return loaded if loaded.checksum == field.attrs.get("model_checksum") else None
