"""The contact sheet: colours, scales, picking, the picture."""

from __future__ import annotations

import time

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.image import imread
from qtpy.QtCore import QPoint, Qt

from napari_hrtem_vae.errors import ParameterError, ResultError
from napari_hrtem_vae.widgets.contact_sheet import ContactSheet, robust_maximum

LATENTS = 64


@pytest.fixture
def maps():
    """(64, 20, 30), each as strong as its position plus one."""
    values = np.random.default_rng(3).random((LATENTS, 20, 30))
    values[:, 5:8, 5:8] = 1.0
    return values * (np.arange(LATENTS) + 1)[:, None, None]


@pytest.fixture
def sheet(qtbot):
    widget = ContactSheet()
    qtbot.addWidget(widget)
    widget.resize(420, 480)
    widget.show()
    qtbot.waitExposed(widget)
    return widget


def names(n=LATENTS):
    return [f"z_{i}" for i in range(n)]


def color(sheet, i, y, x):
    pixel = sheet.image(i).pixelColor(x, y)
    return pixel.red(), pixel.green(), pixel.blue()


def end(colormap, value):
    return tuple(int(part) for part in colormaps[colormap](value, bytes=True)[:3])


def tile(sheet, i):
    """The middle of tile `i` in the view's pixels."""
    return sheet._grid.visualRect(sheet._model.index(i)).center()


def test_robust_maximum_passes_over_a_hot_site_and_missing_ones():
    values = np.ones((100, 100))
    values[0, 0] = 1e6
    values[1, 1] = np.nan
    assert robust_maximum(values) == 1.0


def test_robust_maximum_of_a_few_sites_in_nothing_is_theirs():
    values = np.zeros((100, 100))
    values[3, 3] = 5.0
    assert robust_maximum(values) == 5.0
    assert robust_maximum(np.full((3, 3), np.nan)) == 0.0


def test_each_map_reaches_the_last_color_unless_the_scale_is_shared(sheet, maps):
    sheet.set_maps(maps, names())
    assert color(sheet, 0, 6, 6) == color(sheet, 63, 6, 6) == end("magma", 1.0)
    sheet.set_same_scale(True)
    assert color(sheet, 63, 6, 6) == end("magma", 1.0)
    # One sixty-fourth of the scale.
    assert max(color(sheet, 0, 6, 6)) < 30


def test_missing_sites_are_grey(sheet, maps):
    maps[2, 0, 0] = np.nan
    maps[3] = np.nan
    sheet.set_maps(maps, names())
    assert color(sheet, 2, 0, 0) == (128, 128, 128)
    assert color(sheet, 3, 10, 10) == (128, 128, 128)
    assert color(sheet, 2, 6, 6) == end("magma", 1.0)


def test_maps_with_signs_have_zero_in_the_middle(sheet, maps):
    maps[0] = 0.0
    maps[0, 0, 0], maps[0, 0, 1] = -2.0, 2.0
    sheet.set_maps(maps, names(), colormap="RdBu_r")
    assert color(sheet, 0, 0, 0) == end("RdBu_r", 0.0)
    assert color(sheet, 0, 0, 1) == end("RdBu_r", 1.0)
    assert min(color(sheet, 0, 10, 10)) > 240


def test_rows_and_columns_are_not_swapped(sheet):
    maps = np.zeros((1, 4, 6))
    maps[0, 1, 5] = 1.0
    sheet.set_maps(maps, ["z_0"])
    assert (sheet.image(0).width(), sheet.image(0).height()) == (6, 4)
    assert color(sheet, 0, 1, 5) == end("magma", 1.0)


def test_sixty_four_maps_appear_within_a_third_of_a_second(sheet):
    maps = np.random.default_rng(0).random((LATENTS, 120, 120), dtype=np.float32)
    started = time.perf_counter()
    sheet.set_maps(maps, names())
    picture = sheet.grab()
    assert time.perf_counter() - started < 0.3
    assert not picture.isNull()


def test_maps_are_painted_with_their_labels(sheet, maps):
    sheet.set_maps(maps * 0 + 1, names())
    picture = sheet._grid.grab().toImage()
    middle = tile(sheet, 0)
    pixel = picture.pixelColor(middle.x(), middle.y() - 10)
    # A screen of 16 bits rounds colours by up to 8.
    assert (pixel.red(), pixel.green(), pixel.blue()) == pytest.approx(end("magma", 1.0), abs=8)
    assert sheet._model.data(sheet._model.index(7)) == "z_7"


def test_click_picks_the_map_under_it(sheet, maps, qtbot):
    sheet.set_maps(maps, names())
    with qtbot.waitSignal(sheet.picked) as said:
        qtbot.mouseClick(sheet._grid.viewport(), Qt.MouseButton.LeftButton, pos=tile(sheet, 5))
    assert said.args == [5]
    assert sheet.current() == 5


def test_click_beside_the_maps_picks_nothing(sheet, maps, qtbot):
    sheet.set_maps(maps[:1], names(1))
    with qtbot.assertNotEmitted(sheet.picked):
        qtbot.mouseClick(sheet._grid.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(300, 300))


def test_keys_move_the_highlight_and_enter_picks(sheet, maps, qtbot):
    sheet.set_maps(maps, names())
    said = []
    sheet.picked.connect(said.append)
    sheet.set_current(3)
    qtbot.keyClick(sheet._grid, Qt.Key.Key_Right)
    assert said == []
    qtbot.keyClick(sheet._grid, Qt.Key.Key_Return)
    assert said == [4]


def test_set_current_highlights_and_scrolls_without_picking(sheet, maps, qtbot):
    sheet.set_maps(maps, names())
    with qtbot.assertNotEmitted(sheet.picked):
        sheet.set_current(60)
    assert sheet.current() == 60
    assert sheet._grid.viewport().rect().contains(tile(sheet, 60))
    sheet.set_current(-1)
    assert sheet.current() == -1


def test_maps_that_fill_in_keep_the_highlight(sheet, maps):
    sheet.set_maps(maps, names())
    sheet.set_current(60)
    place = sheet._grid.verticalScrollBar().value()
    sheet.set_maps(maps * 2, names())
    assert sheet.current() == 60
    assert sheet._grid.verticalScrollBar().value() == place > 0


def test_tiles_share_the_width_of_a_narrow_and_a_wide_sheet(sheet, maps):
    sheet.set_maps(maps, names())
    for width, columns in ((260, 2), (900, 9)):
        sheet.resize(width, 480)
        sheet.grab()
        first_row = {tile(sheet, i).y() for i in range(columns)}
        assert len(first_row) == 1
        assert tile(sheet, columns).y() not in first_row


def test_picture_holds_all_maps_on_white(sheet, maps, tmp_path):
    maps[:] = 1.0
    sheet.set_maps(maps, names())
    sheet.export_png(tmp_path / "maps.png")
    picture = imread(tmp_path / "maps.png")[..., :3]
    assert (picture[0] == 1).all()
    assert (picture[:, 0] == 1).all()
    full = np.abs(picture - np.array(end("magma", 1.0)) / 255).max(axis=2) < 0.01
    assert full.sum() == LATENTS * 192 * 128
    assert (picture.max(axis=2) < 0.2).sum() > LATENTS * 10  # letters
    assert [file.name for file in tmp_path.iterdir()] == ["maps.png"]


def test_picture_that_cannot_be_written_leaves_nothing_behind(sheet, maps, tmp_path):
    sheet.set_maps(maps, names())
    (tmp_path / "maps.png" / "inside").mkdir(parents=True)
    with pytest.raises(ResultError, match=r"maps\.png"):
        sheet.export_png(tmp_path / "maps.png")
    assert [file.name for file in tmp_path.iterdir()] == ["maps.png"]


def test_empty_sheet_is_shown_and_writes_nothing(sheet, tmp_path):
    sheet.set_maps(np.zeros((0, 5, 5)), [])
    sheet.grab()
    with pytest.raises(ResultError, match="analyze a video"):
        sheet.export_png(tmp_path / "maps.png")


@pytest.mark.parametrize(
    ("shape", "labels", "colormap", "message"),
    [
        ((5, 5), 5, "magma", r"\(n, y, x\)"),
        ((3, 5, 5), 2, "magma", "3 maps and 2 labels"),
        ((3, 5, 5), 3, "mauve", "mauve"),
    ],
)
def test_sheet_refuses_what_it_cannot_show(sheet, shape, labels, colormap, message):
    with pytest.raises(ParameterError, match=message):
        sheet.set_maps(np.zeros(shape), names(labels), colormap=colormap)
