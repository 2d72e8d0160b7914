from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hrtem_vae.io.units import to_nm, to_s

ANGSTROM_SIGN = "\u212b"  # not the letter Å
LENGTHS = {"m": 1e9, "µm": 1e3, "um": 1e3, "micron": 1e3, "nm": 1, "pm": 1e-3, "Å": 0.1, ANGSTROM_SIGN: 0.1}
TIMES = {"min": 60, "s": 1, "sec": 1, "ms": 1e-3, "µs": 1e-6, "us": 1e-6}
positive = st.floats(1e-9, 1e9)


@given(positive, st.sampled_from(sorted(LENGTHS)))
def test_lengths_come_out_in_nm(value, unit):
    assert to_nm(value, unit) == pytest.approx(value * LENGTHS[unit])
    assert to_s(value, unit) is None or unit == "m"


@given(positive, st.sampled_from(sorted(TIMES)))
def test_times_come_out_in_s(value, unit):
    assert to_s(value, unit) == pytest.approx(value * TIMES[unit])
    assert to_nm(value, unit) is None


@given(positive, st.sampled_from(["1/nm", "nm^-1", "mrad", "px", "pixel", "", "Mm", "eV", None, 3]))
def test_what_is_neither_is_unknown(value, unit):
    assert to_nm(value, unit) is None
    assert to_s(value, unit) is None


@given(st.floats(max_value=0) | st.sampled_from([math.nan, math.inf]))
def test_no_size_is_unknown(value):
    assert to_nm(value, "nm") is None


def test_names_in_full_are_read_whatever_their_case():
    assert to_nm(2, "Nanometers") == to_nm(2, "nm") == to_nm(20, "ANGSTROM") == 2
