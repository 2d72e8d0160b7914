"""What the tests of the widget Lattice share."""

from __future__ import annotations

import pytest

from napari_hrtem_vae.widgets.lattice import LatticeWidget

from .scene import NM, PLACE, settle, track, turning


@pytest.fixture(scope="module")
def frames():
    return turning()


@pytest.fixture
def make_widget(qtbot):
    made = []

    def make(viewer):
        widget = LatticeWidget(viewer)
        made.append(widget)
        return widget

    yield make
    for widget in made:
        work = widget.run.work
        widget.shut_down()
        if work is not None:
            work.join(20)
        widget.deleteLater()


@pytest.fixture
def tracked(viewer, make_widget, frames, qtbot):
    viewer.add_image(frames, name="film", **(NM | PLACE))
    widget = make_widget(viewer)
    track(qtbot, widget)
    return widget


@pytest.fixture
def by_hand(viewer, make_widget, frames, qtbot):
    viewer.add_image(frames, **NM)
    viewer.dims.set_current_step(0, 0)
    widget = make_widget(viewer)
    widget.spectrum.view.resize(300, 230)
    settle(qtbot, widget)
    return widget
