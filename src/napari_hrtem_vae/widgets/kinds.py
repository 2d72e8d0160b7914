"""Kinds of change as the window tells them: names, colours, amounts, and the Labels layer over the map."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .layers import METADATA, note_of

if TYPE_CHECKING:
    import xarray as xr

    from .layers import Placement

LayerData = tuple[Any, dict[str, Any], str]
KEY = "kinds"  # of a result in the notes of the layer that shows its kinds
UNKNOWN = "unknown"
# Growth and shrinkage as in the lattice's change; the others were chosen so that any two differ by 30 or
# more in CIELAB, also to eyes without one of the three kinds of cones (Machado et al. 2009).
COLOURS = {
    "growth": "#1f4fd6",
    "shrinkage": "#d62728",
    "rotation": "#ffee15",
    "translation": "#86e9a8",
    "contrast": "#cf79db",
    UNKNOWN: "#919191",
}
READ_OUTS = ("rotation", "edge_shift", "contrast_change")
_MOST_DIGITS = 6
Float = NDArray[np.float64]


def kind_names(result: xr.Dataset) -> tuple[str, ...]:
    """Names of the kinds that a result tells apart, that of no change first; none in results without."""
    if "kind" not in result or set(result["kind"].dims) != {"y", "x"}:
        return ()
    return _names(result["kind"])


def kind_map(result: xr.Dataset) -> NDArray[np.intp]:
    """Kind (y, x) of each site, an index into `kind_names`; what is no such index counts as no change."""
    values = np.nan_to_num(np.asarray(result["kind"].transpose("y", "x"), float), posinf=0, neginf=0)
    kinds: NDArray[np.intp] = values.astype(np.intp)
    return np.where((kinds > 0) & (kinds < len(kind_names(result))), kinds, 0)


def kinds_seen(result: xr.Dataset) -> list[str]:
    """Kinds that some site shows, in the order of the names."""
    names = kind_names(result)
    return [names[kind] for kind in np.unique(kind_map(result)) if kind] if names else []


def colour_of(kind: str) -> str:
    """Colour of a kind; kinds that this version does not know look as the unknown one."""
    return COLOURS.get(kind, COLOURS[UNKNOWN])


def amount_words(value: float, error: float, unit: str) -> str:
    """A read-out with its error for people, as 4.8 ± 0.5°; nothing where there is none.

    Both end at the first digit of the error.
    """
    if not math.isfinite(value):
        return ""
    known = math.isfinite(error) and error > 0
    digits = min(max(-math.floor(math.log10(error)), 0), _MOST_DIGITS) if known else 2
    words = f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if known else "")
    return words.replace("-", "−") + ("°" if unit == "deg" else f" {unit}")


def names_in(field: xr.DataArray) -> list[str]:
    """Names of kinds for the numbers in a field (n,); what has no name is unknown."""
    names = dict(enumerate(_names(field)))
    return [names.get(int(kind), UNKNOWN) for kind in np.nan_to_num(np.asarray(field, float))]


def hotspot_kinds(result: xr.Dataset) -> list[str]:
    """Kind of each hotspot, by how much, and how sure that is; none in results without kinds."""
    if "hotspot_kind" not in result:
        return []
    kinds = names_in(result["hotspot_kind"])
    read = [f"hotspot_{name}" for name in READ_OUTS]
    told = [
        _all_words(_column(result, name), _column(result, f"{name}_error"), _unit(result, name))
        for name in read
    ]
    confidence = _column(result, "hotspot_kind_confidence")
    sure = [f"({value:.2f})" if math.isfinite(value) else "" for value in confidence]
    parts = zip(kinds, _first(told, len(kinds)), sure, strict=True)
    return [" ".join(filter(None, words)) for words in parts]


def kinds_layer_data(result: xr.Dataset, placement: Placement, title: str) -> LayerData | None:
    """Places of one kind each, as napari's layer data tuple.

    Parameters
    ----------
    result : Dataset
    placement : Placement
        Of its sites.
    title : str
        Name of the video.

    Returns
    -------
    tuple or None
        A Labels layer (y, x): a label a place, whose features tell its kind, how sure that is, and by how
        much; the status bar shows them. Hidden while no kind is known. None where nothing changed.
    """
    from napari.utils.colormaps import DirectLabelColormap
    from napari.utils.colormaps.standardize_color import transform_color

    if not kinds_seen(result):
        return None
    labels, kinds = _places(result)
    # napari takes long over thousands of colours by name
    rgba = {kind: transform_color(colour_of(kind))[0] for kind in set(kinds[1:])}
    colours: dict[int | None, Any] = {None: "transparent"}
    colours |= {place: rgba[kind] for place, kind in enumerate(kinds) if place}
    options = {
        "name": f"{title} · kinds" if title else "kinds",
        "colormap": DirectLabelColormap(color_dict=colours),
        "features": _features(result, labels, kinds),
        "opacity": 0.8,
        "visible": set(kinds[1:]) != {UNKNOWN},
        "metadata": {METADATA: {KEY: result, "title": title}},
    }
    return labels, options | placement.layer_options(), "labels"


def kinds_of_layer(layer: Any) -> xr.Dataset | None:
    """The result whose kinds a layer shows; None for other layers."""
    return note_of(layer).get(KEY)


def _names(field: xr.DataArray) -> tuple[str, ...]:
    names = field.attrs.get("names")
    return tuple(map(str, names)) if isinstance(names, list | tuple | np.ndarray) else ()


def _places(result: xr.Dataset) -> tuple[NDArray[np.int32], list[str]]:
    """Connected sites of one kind, numbered from 1 (y, x), and the kind of each number."""
    from scipy import ndimage

    sites, names = kind_map(result), kind_names(result)
    labels = np.zeros(sites.shape, np.int32)
    kinds = [names[0]]
    for kind in range(1, len(names)):
        found, count = ndimage.label(sites == kind, np.ones((3, 3), int))
        labels += np.where(found, found + (len(kinds) - 1), 0).astype(np.int32)
        kinds += [names[kind]] * count
    return labels, kinds


def _features(result: xr.Dataset, labels: NDArray[np.int32], kinds: list[str]) -> dict[str, list[Any]]:
    """What is known of each place, by its number; the status bar leaves out NaN and None."""
    flat, sites = labels.ravel(), np.maximum(np.bincount(labels.ravel(), minlength=len(kinds)), 1)
    sure = np.nan_to_num(_values(result, "kind_confidence").ravel())
    confidence = np.bincount(flat, sure, len(kinds)) / sites
    confidence[0] = np.nan
    told = []
    for name in READ_OUTS:
        values, errors = _values(result, name).ravel(), _values(result, f"{name}_error").ravel()
        here = np.isfinite(values) & (errors > 0) & (flat > 0)
        weights = np.zeros(flat.shape)
        weights[here] = errors[here] ** -2
        with np.errstate(invalid="ignore"):
            totals = np.bincount(flat, weights, len(kinds))
            means = np.bincount(flat, weights * np.where(here, values, 0), len(kinds)) / totals
            # neighbouring sites are wrong alike: their mean is no better known than one of them
            wrong = np.sqrt(np.bincount(flat, here.astype(float), len(kinds)) / totals)
        told.append(_all_words(means, wrong, _unit(result, name)))
    return {
        "index": list(range(len(kinds))),
        "kind": kinds,
        "confidence": [round(float(value), 2) for value in confidence],
        "amount": [amount or None for amount in _first(told, len(kinds))],
    }


def _values(result: xr.Dataset, name: str) -> Float:
    """A map (y, x) of a result; NaN where it has none."""
    if name not in result or set(result[name].dims) != {"y", "x"}:
        return np.full((result.sizes["y"], result.sizes["x"]), np.nan)
    return np.asarray(result[name].transpose("y", "x"), float)


def _column(result: xr.Dataset, name: str) -> Float:
    """What a result knows of each hotspot; NaN where it does not."""
    return np.asarray(result.get(name, np.full(result.sizes["hotspot"], np.nan)), float)


def _unit(result: xr.Dataset, name: str) -> str:
    return str(result[name].attrs.get("units", "")) if name in result else ""


def _all_words(values: Float, errors: Float, unit: str) -> list[str]:
    return [
        amount_words(float(value), float(error), unit) for value, error in zip(values, errors, strict=True)
    ]


def _first(told: list[list[str]], count: int) -> list[str]:
    """Of several read-outs of each place the one that is there: each is of other kinds."""
    return [next((words[place] for words in told if words[place]), "") for place in range(count)]
