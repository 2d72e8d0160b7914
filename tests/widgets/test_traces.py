"""The plot: numbers of the moving mean, pointer and cursor, tables and figures."""

from __future__ import annotations

import csv
import time

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_hrtem_vae.errors import ParameterError, ResultError
from napari_hrtem_vae.widgets.traces import NEUTRAL_COLOR, REGION_COLORS, Trace, TracePlot, moving_mean

FRAMES = 120
TIME = np.arange(FRAMES) * 0.5  # s


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def plot(qtbot):
    widget = TracePlot()
    qtbot.addWidget(widget)
    widget.resize(600, 300)
    widget.show()
    qtbot.waitExposed(widget)
    return widget


def trace(label="Region 1", values=None, color=REGION_COLORS[0], times=TIME, unit=""):
    return Trace(label, color, times, np.sin(times / 5) if values is None else values, unit)


def drawn(plot):
    """The canvas as it is, (rows, columns, 4)."""
    return np.asarray(plot.canvas.buffer_rgba()).copy()


def position(plot, seconds, height=0.5):
    """Where `seconds` lies on the canvas, in Qt's pixels."""
    x = plot.canvas.figure.axes[0].transData.transform((seconds, 0))[0]
    box = plot.canvas.figure.axes[0].bbox
    return QPoint(round(x), round(plot.canvas.figure.bbox.height - box.y0 - height * box.height))


# Moving mean


@pytest.mark.parametrize("frames", [2, 3, 10, 11])
def test_moving_mean_is_numpys_convolution_in_the_interior(rng, frames):
    values = rng.normal(1e4, 1, 200)
    expected = np.convolve(values, np.full(frames, 1 / frames), mode="valid")
    mean = moving_mean(values, frames)
    np.testing.assert_allclose(mean[frames // 2 :][: expected.size], expected, rtol=1e-12)


def test_moving_mean_of_a_ramp_is_the_ramp_and_shorter_at_the_ends():
    ramp = np.arange(20.0)
    mean = moving_mean(ramp, 5)
    np.testing.assert_allclose(mean[2:-2], ramp[2:-2])
    # Frames 0 … 2 and 17 … 19 are all that the window holds at the ends.
    np.testing.assert_allclose(mean[[0, -1]], [1.0, 18.0])


def test_moving_mean_of_one_frame_returns_the_values(rng):
    values = rng.normal(size=30)
    values[4] = np.nan
    np.testing.assert_array_equal(moving_mean(values, 1), values)


def test_missing_frames_stay_missing_and_do_not_spread():
    mean = moving_mean(np.array([1.0, np.nan, 3.0, 5.0, np.inf]), 3)
    np.testing.assert_allclose(mean, [1.0, np.nan, 4.0, 4.0, np.nan])


def test_window_longer_than_the_trace_gives_its_mean():
    np.testing.assert_allclose(moving_mean(np.array([1.0, 2.0, 6.0]), 99), 3.0)


def test_nothing_known_and_nothing_at_all_give_nothing():
    assert np.isnan(moving_mean(np.full(5, np.nan), 3)).all()
    assert moving_mean(np.array([]), 3).shape == (0,)


def test_moving_mean_refuses_a_window_of_no_frames():
    with pytest.raises(ParameterError, match="0 frames"):
        moving_mean(np.zeros(3), 0)


def test_trace_refuses_times_and_values_of_different_length():
    with pytest.raises(ParameterError, match="Region 1"):
        trace(values=np.zeros(3))


def test_trace_refuses_what_is_no_color():
    with pytest.raises(ParameterError, match="reddish"):
        trace(color="reddish")


# Colours


def luminance(color):
    part = np.asarray(to_rgb(color))
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("ground", ["#ffffff", "#262930"])
def test_region_colors_stand_out_on_white_and_on_the_dark_theme(ground):
    assert len(set(REGION_COLORS)) >= 8
    for color in (*REGION_COLORS, NEUTRAL_COLOR):
        low, high = sorted([luminance(color), luminance(ground)])
        assert (high + 0.05) / (low + 0.05) > 2.15, color


# What the plot shows


def test_empty_plot_shows_its_hint_and_offers_no_export(plot):
    assert [text.get_text() for text in plot.canvas.figure.texts] == [
        "Draw a region on the video to plot z against time"
    ]
    assert not plot.canvas.figure.axes
    assert not plot._csv.isEnabled()


def test_taking_the_traces_away_brings_the_hint_back(plot):
    plot.set_traces([trace()], y_label="z")
    assert plot.canvas.figure.axes
    plot.set_traces([], y_label="z")
    assert plot.canvas.figure.texts


def test_legend_stands_only_beside_several_traces(plot):
    plot.set_traces([trace()], y_label="z")
    assert not plot.canvas.figure.legends
    plot.set_traces([trace(), trace("Region 2", color=REGION_COLORS[1])], y_label="z")
    (legend,) = plot.canvas.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["Region 1", "Region 2"]


def test_right_traces_have_an_axis_of_their_own_until_they_go(plot):
    plot.set_traces([trace()], y_label="z")
    plot.set_right_traces([trace("Misfit", TIME * 0 + 13.7, NEUTRAL_COLOR, unit="°")], y_label="misfit (°)")
    left, right = plot.canvas.figure.axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("z", "misfit (°)")
    assert right.get_ylim()[0] < 13.7 < right.get_ylim()[1]
    plot.set_right_traces([])
    assert len(plot.canvas.figure.axes) == 1


def test_right_traces_alone_are_drawn(plot):
    plot.set_right_traces([trace("Misfit", TIME)], y_label="misfit (°)")
    plot.canvas.draw()
    assert plot.canvas.figure.axes[1].lines


def test_gap_is_left_in_the_line_and_a_lonely_value_is_a_dot(plot):
    values = np.full(FRAMES, np.nan)
    values[:50] = 1.0
    values[80] = 2.0
    plot.set_traces([trace(values=values)], y_label="z")
    lines = plot.canvas.figure.axes[0].lines
    bold = max(lines, key=lambda line: line.get_linewidth())
    assert np.isnan(bold.get_ydata()[50:80]).all()
    dots = next(line for line in lines if line.get_marker() == ".")
    assert dots.get_xdata().tolist() == [TIME[80]]


def test_trace_of_no_value_and_of_one_frame_are_drawn(plot):
    plot.set_traces([trace(values=np.full(FRAMES, np.nan))], y_label="z")
    plot.canvas.draw()
    plot.set_traces([trace(times=np.array([3.0]))], y_label="z")
    plot.canvas.draw()
    plot.set_time(3.0)


def test_spin_box_sets_the_moving_mean_and_says_so(plot, qtbot):
    plot.set_traces([trace()], y_label="z")
    with qtbot.waitSignal(plot.moving_mean_changed) as said:
        plot._spin.setValue(1)
    assert said.args == [1]
    assert plot.moving_mean_frames() == 1
    # Off: the values alone (and the empty line of dots).
    assert len(plot.canvas.figure.axes[0].lines) == 2 + 1  # and the cursor
    np.testing.assert_array_equal(plot.canvas.figure.axes[0].lines[1].get_ydata(), np.sin(TIME / 5))


# Cursor and pointer


def test_cursor_moves_without_drawing_the_traces_again(plot, qtbot):
    plot.set_traces([trace()], y_label="z")
    qtbot.wait(50)  # the drawing that set_traces asked for
    before = drawn(plot)
    redrawn = []
    plot.canvas.mpl_connect("draw_event", redrawn.append)
    for seconds in (10.0, 20.0, 40.0):
        plot.set_time(seconds)
    changed = (drawn(plot) != before).any(axis=2)
    column = position(plot, 40.0).x()
    # One line at the last time, top to bottom, and no trace of the earlier ones.
    assert changed[:, column - 1 : column + 2].any(axis=1).sum() > 150
    assert not changed[:, position(plot, 10.0).x()].any()
    assert not changed[:, position(plot, 20.0).x()].any()
    plot.set_time(1e9)
    assert (drawn(plot) == before).all()
    plot.set_time(np.nan)
    assert (drawn(plot) == before).all()
    qtbot.wait(50)
    assert not redrawn


def test_cursor_is_far_cheaper_than_a_drawing(plot):
    plot.set_traces([trace(f"Region {i}", color=color) for i, color in enumerate(REGION_COLORS)], y_label="z")
    started = time.perf_counter()
    plot.canvas.draw()
    drawing = time.perf_counter() - started
    moves = []
    for seconds in np.linspace(0, 59, 50):
        started = time.perf_counter()
        plot.set_time(seconds)
        moves.append(time.perf_counter() - started)
    assert np.median(moves) < drawing / 5


def test_cursor_stays_when_the_traces_change(plot):
    plot.set_traces([trace()], y_label="z")
    plot.set_time(30.0)
    plot.set_traces([trace(values=TIME * 0)], y_label="z")
    plot.canvas.draw()
    with_cursor = drawn(plot)
    plot.set_time(np.nan)
    assert (drawn(plot) != with_cursor)[:, position(plot, 30.0).x()].any()


def test_click_says_the_time_under_it_also_beneath_a_right_axis(plot, qtbot):
    plot.set_traces([trace()], y_label="z")
    plot.set_right_traces([trace("Misfit", TIME)], y_label="misfit (°)")
    plot.canvas.draw()
    with qtbot.waitSignal(plot.time_clicked) as said:
        qtbot.mouseClick(plot.canvas, Qt.MouseButton.LeftButton, pos=position(plot, 42.0))
    assert said.args[0] == pytest.approx(42.0, abs=0.15)  # a pixel is 0.12 s


def test_drag_says_each_time_and_stops_at_the_last_frame(plot, qtbot):
    plot.set_traces([trace()], y_label="z")
    plot.canvas.draw()
    said = []
    plot.time_clicked.connect(said.append)
    qtbot.mousePress(plot.canvas, Qt.MouseButton.LeftButton, pos=position(plot, 10.0))
    qtbot.mouseMove(plot.canvas, position(plot, 20.0))
    qtbot.mouseMove(plot.canvas, position(plot, 90.0))
    qtbot.mouseRelease(plot.canvas, Qt.MouseButton.LeftButton, pos=position(plot, 90.0))
    qtbot.mouseMove(plot.canvas, position(plot, 30.0))
    assert said == pytest.approx([10.0, 20.0, TIME[-1]], abs=0.15)


def test_click_beside_the_axes_or_with_another_button_says_nothing(plot, qtbot):
    plot.set_traces([trace()], y_label="z")
    plot.canvas.draw()
    with qtbot.assertNotEmitted(plot.time_clicked):
        qtbot.mouseClick(plot.canvas, Qt.MouseButton.LeftButton, pos=QPoint(2, 2))
        qtbot.mouseClick(plot.canvas, Qt.MouseButton.RightButton, pos=position(plot, 42.0))


# Theme


def test_plot_takes_the_colors_of_its_dock_when_they_change(plot, qtbot):
    plot.set_traces([trace()], y_label="z")
    palette = QPalette()
    palette.setColor(QPalette.ColorRole.Window, QColor("#101820"))
    palette.setColor(QPalette.ColorRole.WindowText, QColor("#f0f1f2"))
    plot.setPalette(palette)
    plot.canvas.draw()
    assert drawn(plot)[0, 0, :3].tolist() == [0x10, 0x18, 0x20]
    plot.setStyleSheet("QWidget { background-color: #ffeedd; color: #112233; }")
    plot.canvas.draw()
    assert drawn(plot)[0, 0, :3].tolist() == [0xFF, 0xEE, 0xDD]
    assert plot.canvas.figure.axes[0].yaxis.label.get_color() == "#112233"


# Files


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return header, np.array([[float(cell or "nan") for cell in row] for row in rows])


def test_csv_gives_back_times_values_and_means(plot, tmp_path, rng):
    values = rng.normal(size=FRAMES)
    values[5] = np.nan
    misfit = rng.normal(13, 1, FRAMES)
    plot.set_traces([trace(values=values)], y_label="z")
    plot.set_right_traces([trace("Misfit", misfit, unit="°")], y_label="misfit (°)")
    plot.export_csv(tmp_path / "traces.csv")
    header, table = read(tmp_path / "traces.csv")
    assert header == [
        "time (s)",
        "Region 1",
        "Region 1, mean of 10 frames",
        "Misfit (°)",
        "Misfit, mean of 10 frames (°)",
    ]
    expected = [TIME, values, moving_mean(values, 10), misfit, moving_mean(misfit, 10)]
    np.testing.assert_allclose(table, np.transpose(expected), rtol=1e-12)


def test_csv_of_traces_on_different_times_and_of_one_name_keeps_all(plot, tmp_path):
    plot.set_moving_mean_frames(1)
    sparse = trace(values=np.array([7.0, 8.0]), times=np.array([0.25, 0.5]))
    plot.set_traces([trace(), sparse], y_label="z")
    plot.export_csv(tmp_path / "traces.csv")
    header, table = read(tmp_path / "traces.csv")
    assert header == ["time (s)", "Region 1", "Region 1 [2]"]
    assert len(table) == FRAMES + 1
    np.testing.assert_allclose(table[:3, 0], [0, 0.25, 0.5])
    np.testing.assert_allclose(table[:4, 2], [np.nan, 7.0, 8.0, np.nan])


def test_figure_is_dark_on_white_whatever_the_theme(plot, tmp_path):
    palette = QPalette()
    palette.setColor(QPalette.ColorRole.Window, QColor("#101820"))
    palette.setColor(QPalette.ColorRole.WindowText, QColor("#f0f1f2"))
    plot.setPalette(palette)
    plot.set_traces([trace()], y_label="z")
    plot.export_figure(tmp_path / "plot.png")
    picture = imread(tmp_path / "plot.png")
    assert picture.shape[1] == 1200
    assert (picture[[0, 0, -1, -1], [0, -1, 0, -1], :3] == 1).all()
    assert (picture[..., :3].max(axis=2) < 0.2).sum() > 100  # letters
    assert (picture[..., :3].min(axis=2) > 0.99).mean() > 0.8


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")])
def test_figure_is_of_the_kind_that_the_name_says(plot, tmp_path, suffix, start):
    plot.set_traces([trace()], y_label="latent z")
    path = tmp_path / f"plot{suffix}"
    plot.export_figure(path)
    assert path.read_bytes().startswith(start)
    if suffix == ".svg":
        assert "latent z" in path.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_figure_that_cannot_be_written_leaves_nothing_behind(plot, tmp_path):
    plot.set_traces([trace()], y_label="z")
    taken = tmp_path / "plot.png"
    (taken / "inside").mkdir(parents=True)  # a folder of that name: the last step, the renaming, fails
    with pytest.raises(ResultError, match=r"plot\.png cannot be written"):
        plot.export_figure(taken)
    assert [file.name for file in tmp_path.iterdir()] == ["plot.png"]
    with pytest.raises(ResultError, match="cannot be written"):
        plot.export_figure(tmp_path / "missing" / "plot.png")


def test_figure_on_a_full_disk_keeps_the_old_file(plot, tmp_path):
    resource = pytest.importorskip("resource", reason="Windows has no limit of file size")
    old = tmp_path / "plot.svg"
    old.write_bytes(b"old")
    plot.set_traces([trace()], y_label="z")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))  # refuses more, as a full disk does
    try:
        with pytest.raises(ResultError, match=r"plot\.svg cannot be written") as caught:
            plot.export_figure(old)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in str(caught.value)
    assert old.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["plot.svg"]


def test_figure_of_an_unknown_kind_is_refused(plot, tmp_path):
    plot.set_traces([trace()], y_label="z")
    with pytest.raises(ParameterError, match=r"plot\.docx"):
        plot.export_figure(tmp_path / "plot.docx")


def test_empty_plot_exports_nothing(plot, tmp_path):
    for export, name in ((plot.export_figure, "plot.png"), (plot.export_csv, "traces.csv")):
        with pytest.raises(ResultError, match="draw a region"):
            export(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_button_asks_for_a_file_and_adds_the_suffix(plot, qtbot, tmp_path, monkeypatch):
    plot.set_traces([trace()], y_label="z")
    answer = (str(tmp_path / "mine"), "SVG (*.svg)")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: answer)
    qtbot.mouseClick(plot._figure, Qt.MouseButton.LeftButton)
    assert (tmp_path / "mine.svg").exists()


def test_button_shows_what_went_wrong(plot, qtbot, tmp_path, monkeypatch):
    plot.set_traces([trace()], y_label="z")
    shown = []
    answer = (str(tmp_path / "missing" / "mine.csv"), "Table (*.csv)")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: answer)
    monkeypatch.setattr(QMessageBox, "warning", lambda _parent, _title, text: shown.append(text))
    qtbot.mouseClick(plot._csv, Qt.MouseButton.LeftButton)
    assert len(shown) == 1
    assert "mine.csv" in shown[0]
