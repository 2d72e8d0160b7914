"""Lengths to nanometres, times to seconds, by the name of the unit."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

# Keys are NFKC-normalised, where the micro sign becomes the Greek mu and the Angstrom sign the letter Å.
_NM = {
    "m": 1e9, "meter": 1e9, "meters": 1e9, "metre": 1e9, "metres": 1e9,
    "cm": 1e7, "centimeter": 1e7, "centimetre": 1e7,
    "mm": 1e6, "millimeter": 1e6, "millimetre": 1e6,
    "μm": 1e3, "um": 1e3, "micron": 1e3, "microns": 1e3, "micrometer": 1e3, "micrometre": 1e3,
    "nm": 1.0, "nanometer": 1.0, "nanometers": 1.0, "nanometre": 1.0, "nanometres": 1.0,
    "Å": 0.1, "A": 0.1, "ang": 0.1, "angstrom": 0.1, "angstroms": 0.1, "ångström": 0.1,
    "pm": 1e-3, "picometer": 1e-3, "picometre": 1e-3,
}  # fmt: skip
_S = {
    "h": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
    "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3, "milliseconds": 1e-3,
    "μs": 1e-6, "us": 1e-6, "microsecond": 1e-6, "microseconds": 1e-6,
    "ns": 1e-9, "nanosecond": 1e-9, "nanoseconds": 1e-9,
}  # fmt: skip


def _factor(unit: object, table: dict[str, float]) -> float | None:
    if not isinstance(unit, str):
        return None
    name = unicodedata.normalize("NFKC", unit).strip()
    # Only words are safe to compare without case: "Mm" is no millimetre.
    return table.get(name, table.get(name.casefold()) if len(name) > 2 else None)


def _convert(value: Any, unit: object, table: dict[str, float]) -> float | None:
    factor = _factor(unit, table)
    if factor is None or value is None:
        return None
    try:
        number = float(value) * factor
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def to_nm(value: Any, unit: object) -> float | None:
    """`value` in nm, or None where the unit is no length or the value is not positive and finite.

    Parameters
    ----------
    value : float
        A length in `unit`.
    unit : str or None
        m, cm, mm, µm, um, micron, nm, Å, angstrom, pm, or their names in full.
    """
    return _convert(value, unit, _NM)


def to_s(value: Any, unit: object) -> float | None:
    """`value` in seconds, or None where the unit is no time or the value is not positive and finite.

    Parameters
    ----------
    value : float
        A time in `unit`.
    unit : str or None
        h, min, s, sec, ms, µs, us, ns, or their names in full.
    """
    return _convert(value, unit, _S)


def is_time_unit(unit: object) -> bool:
    """Whether `unit` names a time."""
    return _factor(unit, _S) is not None
