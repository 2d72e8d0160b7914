"""The store tells once, and only of what changed."""

from __future__ import annotations

import numpy as np
import xarray as xr

from napari_hrtem_vae.widgets.store import Message, Store


def test_several_fields_changed_together_are_told_once():
    store, told = Store(), []
    store.on("latent kind", lambda: told.append((store.state.latent, store.state.kind)))
    store.change(latent=3, kind="variance")
    assert told == [(3, "variance")]


def test_setting_the_same_value_is_silent():
    store, told = Store(), []
    store.on("frame message", lambda: told.append(1))
    store.change(frame=0)
    store.change(message=Message())
    assert told == []


def test_only_those_who_asked_for_a_field_hear_of_it():
    store, told = Store(), []
    store.on("latent", lambda: told.append("latent"))
    store.change(frame=5)
    assert told == []


def test_another_dataset_of_equal_values_is_another_result():
    store, told = Store(), []
    store.on("result", lambda: told.append(1))
    store.change(result=xr.Dataset({"a": ("x", np.zeros(2))}))
    store.change(result=xr.Dataset({"a": ("x", np.zeros(2))}))
    assert told == [1, 1]


def test_after_close_nobody_hears_and_nothing_is_kept():
    store, told = Store(), []
    store.change(result=xr.Dataset())
    store.on("frame", lambda: told.append(1))
    store.close()
    store.change(frame=2)
    assert told == []
    assert store.state.result is None
