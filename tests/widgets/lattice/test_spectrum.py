"""The live spectrum: what it shows, and spots by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt

from .scene import FRAMES, NM, PLACE, settle, track


def spot_on(widget, grain, order=0):
    return next(
        mark
        for mark in widget.spectrum.view.marks
        if (mark.grain, mark.order, mark.sign) == (grain, order, 1)
    )


def test_the_spectrum_shows_both_grains_before_anything_is_tracked(viewer, make_widget, frames, qtbot):
    viewer.add_image(frames, **NM)
    viewer.dims.set_current_step(0, 0)
    widget = make_widget(viewer)
    settle(qtbot, widget)
    angles = sorted(np.rad2deg(np.arctan2(*spot_on(widget, grain).k)) for grain in (0, 1))
    np.testing.assert_allclose(angles, [3, 15], atol=0.3)
    spacings = [float(words) for words in re.findall(r"spacing (\S+) nm", widget.spectrum.note.text())]
    np.testing.assert_allclose(spacings, 8 * 0.03, rtol=0.01)
    assert viewer.layers[0].metadata == {}


def test_the_spectrum_follows_the_frame_on_the_screen(viewer, make_widget, frames, qtbot):
    viewer.add_image(frames, **NM)
    widget = make_widget(viewer)
    for frame, expected in ((0, 15), (FRAMES - 1, 11)):
        viewer.dims.set_current_step(0, frame)
        settle(qtbot, widget)
        assert np.rad2deg(np.arctan2(*spot_on(widget, 1).k)) == pytest.approx(expected, abs=0.4)


def test_the_spectrum_of_a_region_shows_the_one_grain_in_it(viewer, make_widget, frames, qtbot):
    viewer.add_image(frames, **(NM | PLACE))
    viewer.dims.set_current_step(0, 0)
    widget = make_widget(viewer)
    widget.region.draw()
    widget.region.layer.add_rectangles([[8, 30], [8, 125], [104, 125], [104, 30]])
    qtbot.waitUntil(lambda: len(widget.store.state.regions) == 1)
    widget.spectrum.source_box.setCurrentIndex(1)
    settle(qtbot, widget)
    assert len(widget.spectrum.look.bases) == 1
    assert np.rad2deg(np.arctan2(*spot_on(widget, 0).k)) == pytest.approx(3, abs=0.5)
    viewer.layers.remove(widget.region.layer)
    qtbot.waitUntil(lambda: widget.store.state.source is None)
    settle(qtbot, widget)
    assert len(widget.spectrum.look.bases) == 2


def press(qtbot, widget, k, button=Qt.MouseButton.LeftButton, to=None):
    """Click in the spectrum at k, or drag from there to `to`."""
    view = widget.spectrum.view
    start = view.place_of(k).toPoint()
    if to is None:
        qtbot.mouseClick(view, button, pos=start)
        return
    qtbot.mousePress(view, button, pos=start)
    qtbot.mouseMove(view, view.place_of(to).toPoint())
    qtbot.mouseRelease(view, button, pos=view.place_of(to).toPoint())


def k_of(angle_deg, period_px=8.0):
    angle = np.deg2rad(angle_deg)
    return float(np.sin(angle) / period_px), float(np.cos(angle) / period_px)


def test_spots_are_removed_added_and_dragged_by_hand(by_hand, qtbot):
    press(qtbot, by_hand, spot_on(by_hand, 0).k, Qt.MouseButton.RightButton)
    settle(qtbot, by_hand)
    assert len(by_hand.store.state.spots) == 1
    # beside the spot that was found: it is the one that is meant
    press(qtbot, by_hand, k_of(4.0))
    settle(qtbot, by_hand)
    found = np.array(by_hand.store.state.spots[1])
    assert min(np.hypot(*(found - k_of(angle))) for angle in (3, 93, -87)) < 0.002
    # to a place where there is no spot
    press(qtbot, by_hand, spot_on(by_hand, 1).k, to=k_of(40, 9.0))
    settle(qtbot, by_hand)
    np.testing.assert_allclose(by_hand.store.state.spots[1], k_of(40, 9.0), atol=0.003)
    by_hand.spectrum.again_button.click()
    settle(qtbot, by_hand)
    assert by_hand.store.state.spots is None
    assert len(by_hand.spectrum.look.bases) == 2


def test_the_mate_of_a_spot_is_dragged_as_the_spot_is(by_hand, qtbot):
    mate = next(mark for mark in by_hand.spectrum.view.marks if (mark.grain, mark.sign) == (0, -1))
    away = k_of(70, 9.5)
    press(qtbot, by_hand, mate.k, to=(-away[0], -away[1]))
    np.testing.assert_allclose(by_hand.store.state.spots[0], away, atol=0.003)


def test_delete_removes_the_spot_under_the_pointer(by_hand, qtbot):
    view = by_hand.spectrum.view
    view._pointer = QPointF(view.place_of(spot_on(by_hand, 1).k))
    qtbot.keyClick(view, Qt.Key.Key_Delete)
    assert len(by_hand.store.state.spots) == 1


def test_grains_put_by_hand_are_the_ones_that_are_followed(by_hand, qtbot):
    press(qtbot, by_hand, spot_on(by_hand, 0).k, Qt.MouseButton.RightButton)
    track(qtbot, by_hand)
    result = by_hand.store.state.result
    assert result.sizes["grain"] == 1
    np.testing.assert_allclose(result["angle_deg"][:, 0], np.linspace(15, 11, FRAMES), atol=0.3)


def test_the_wheel_zooms_and_angles_stay_what_they_are(by_hand, qtbot):
    view, k = by_hand.spectrum.view, (0.05, 0.1)
    before = view.place_of(k)
    view._reach /= 2
    np.testing.assert_allclose(view.k_at(view.place_of(k)), k, atol=1e-9)
    middle = QPointF(view.width() / 2, view.height() / 2)
    for after, was in ((view.place_of(k).x(), before.x()), (view.place_of(k).y(), before.y())):
        center = middle.x() if was == before.x() else middle.y()
        assert after - center == pytest.approx(2 * (was - center))


def test_a_click_lands_where_the_picture_says(by_hand):
    view = by_hand.spectrum.view
    assert view.k_at(QPointF(QPoint(view.width() // 2, view.height() // 2))) == pytest.approx(
        (0, 0), abs=1e-9
    )
    ky, kx = view.k_at(QPointF(view.width() / 2 + 20, view.height() / 2 + 10))
    assert kx == pytest.approx(2 * ky)
    assert ky > 0
