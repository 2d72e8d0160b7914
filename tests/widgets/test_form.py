"""The form is made from the dataclass: all its fields, and what it checks is what counts."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from napari_hrtem_vae.errors import ParameterError
from napari_hrtem_vae.vae.parameters import AnalyzeParameters
from napari_hrtem_vae.widgets.form import ParameterForm


@pytest.fixture
def form(qtbot):
    form = ParameterForm(AnalyzeParameters(), skip=["device"])
    qtbot.addWidget(form)
    return form


def test_every_field_has_a_row_but_those_left_out(form):
    assert set(form._rows) == {f.name for f in fields(AnalyzeParameters)} - {"device"}


def test_defaults_come_back_unchanged(form):
    assert form.parameters() == AnalyzeParameters()


def test_what_is_shown_comes_back(form):
    shown = replace(
        AnalyzeParameters(), step=4, zoom=1.5, outliers="off", keep_field=False, false_discovery_rate=0.1
    )
    form.show_parameters(shown)
    assert form.parameters() == shown


def test_an_edit_is_told_but_showing_is_not(form, qtbot):
    with qtbot.assertNotEmitted(form.edited):
        form.show_parameters(replace(AnalyzeParameters(), step=4))
    with qtbot.waitSignal(form.edited):
        form._rows["step"].value = 16


@pytest.mark.parametrize("typed", ["abc", "-1", "1e9"])
def test_what_is_no_sensible_number_is_refused(form, typed):
    form._rows["zoom"].value = typed
    with pytest.raises(ParameterError, match=r"(?i)zoom"):
        form.parameters()
