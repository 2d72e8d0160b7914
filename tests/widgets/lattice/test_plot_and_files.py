"""Plots of a lattice result, and results that are saved and come back."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from scipy import stats

from napari_hrtem_vae.errors import ResultError
from napari_hrtem_vae.io.results import open_result
from napari_hrtem_vae.lattice.change import lattice_area
from napari_hrtem_vae.widgets.lattice_traces import correlation_note, rank_correlation
from napari_hrtem_vae.widgets.results_reader import read_result
from napari_hrtem_vae.widgets.results_writer import write_results
from napari_hrtem_vae.widgets.traces import Trace

from .scene import NM, layer_of, settle, track


def test_the_plot_shows_quantities_with_their_errors_and_follows_time_both_ways(viewer, tracked, qtbot):
    result, plot = tracked.store.state.result, tracked.plot
    settle(qtbot, tracked)
    (misfit,) = plot._content.left
    np.testing.assert_array_equal(misfit.sigma, result["misfit_sigma_deg"])
    box = tracked.plots.left_box
    for key, name in (("angle", "angle_deg"), ("spacing", "spacing_nm"), ("area", "area_nm2")):
        box.setCurrentIndex(box.findData(key))
        settle(qtbot, tracked)
        shown = np.stack([trace.values for trace in plot._content.left], axis=1)
        np.testing.assert_array_equal(shown, result[name])
    viewer.dims.set_current_step(0, 3)
    assert plot._time == result["time"][3]
    plot.time_clicked.emit(float(result["time"][1]))
    assert viewer.dims.current_step[0] == 1


def test_counter_clockwise_turns_angles_and_leaves_the_misfit(tracked, qtbot):
    result, box = tracked.store.state.result, tracked.plots.left_box
    tracked.plot  # noqa: B018  made when it is first asked for
    box.setCurrentIndex(box.findData("angle"))
    tracked.plots.right_box.setCurrentIndex(tracked.plots.right_box.findData("misfit"))
    tracked.maps.sense_box.setChecked(True)
    settle(qtbot, tracked)
    np.testing.assert_array_equal(tracked.plot._content.left[1].values, -result["angle_deg"][:, 1])
    np.testing.assert_array_equal(tracked.plot._content.right[0].values, result["misfit_deg"])
    assert "counter-clockwise" in tracked.plot._content.left_label


def test_the_area_in_a_region_is_that_of_the_cells_inside_it(viewer, tracked, qtbot):
    tracked.region.draw()
    tracked.region.layer.add_rectangles([[2, 128], [2, 250], [110, 250], [110, 128]])
    qtbot.waitUntil(lambda: len(tracked.store.state.regions) == 1)
    tracked.plot  # noqa: B018
    tracked.plots.left_box.setCurrentIndex(tracked.plots.left_box.findData("region"))
    settle(qtbot, tracked)
    result = tracked.store.state.result
    corners = np.array([[2, 128], [2, 250], [110, 250], [110, 128]]) * 0.03
    expected = lattice_area(result, corners)["area_nm2"].sum("grain")
    (trace,) = tracked.plot._content.left
    np.testing.assert_allclose(trace.values, expected, rtol=0.02)
    assert trace.unit == "nm²"


def test_rank_correlation_is_scipys_over_the_frames_that_both_have():
    rng = np.random.default_rng(5)
    time, values = np.arange(20.0), rng.normal(size=20)
    other = values**3 + rng.normal(0, 0.3, 20)
    other[4] = np.nan
    one, two = Trace("a", "#02bbff", time, values), Trace("b", "#02bbff", time[2:], other[2:])
    rho, count = rank_correlation(one, two)
    good = np.r_[2:4, 5:20]
    assert count == 17
    assert rho == pytest.approx(stats.spearmanr(values[good], other[good]).statistic)
    assert f"n = {count}" in correlation_note([one], [two])


@pytest.mark.parametrize("values", [np.zeros(9), np.r_[1.0, 2.0, np.full(7, np.nan)]])
def test_no_rank_correlation_is_invented(values):
    one = Trace("a", "#02bbff", np.arange(9.0), np.arange(9.0))
    two = Trace("b", "#02bbff", np.arange(9.0), values)
    assert np.isnan(rank_correlation(one, two)[0])
    assert "not defined" in correlation_note([one], [two])


def test_a_saved_result_comes_back_with_masks_regions_and_the_widget(
    viewer, tracked, make_widget, qtbot, tmp_path
):
    tracked.region.draw()
    tracked.region.layer.add_ellipses([[28, 130], [28, 220], [88, 220], [88, 130]])
    qtbot.waitUntil(lambda: len(tracked.store.state.regions) == 1)
    path = tmp_path / "lattice.zarr"
    tracked.save(path)
    settle(qtbot, tracked)
    assert tracked.run.message.text() == f"Saved as {path}."
    other = ViewerModel()
    widget = make_widget(other)
    for data in read_result(str(path)):
        other._add_layer_from_data(*data)
    settle(qtbot, widget)
    qtbot.waitUntil(lambda: len(widget.store.state.regions) == 1)
    masks = layer_of(other, "presence")
    np.testing.assert_array_equal(np.asarray(masks.data), np.asarray(layer_of(viewer, "presence").data))
    np.testing.assert_allclose(
        widget.store.state.regions[0].vertices, tracked.store.state.regions[0].vertices, atol=1e-6
    )
    # the plot follows the masks, and they the plot
    other.dims.set_current_step(0, 4)
    assert widget.store.state.frame == 4
    widget.plot.time_clicked.emit(float(widget.store.state.result["time"][1]))
    assert other.dims.current_step[0] == 1
    # there is no video with it, and that is said
    widget.maps.boxes["change"].click()
    assert "video" in widget.run.message.text()
    assert not widget.maps.boxes["change"].isChecked()
    other.layers.clear()
    assert widget.store.state.result is None


def test_the_writer_saves_the_result_of_its_masks(viewer, tracked, tmp_path):
    path = str(tmp_path / "written.zarr")
    masks = layer_of(viewer, "presence").as_layer_data_tuple()
    assert write_results(path, [masks]) == [path]
    np.testing.assert_array_equal(open_result(path)["misfit_deg"], tracked.store.state.result["misfit_deg"])


def test_a_store_that_lacks_its_masks_is_refused_with_a_sentence(tracked, tmp_path):
    from napari_hrtem_vae.io.results import save_result

    save_result(tracked.store.state.result.drop_vars("presence"), tmp_path / "lame.zarr")
    with pytest.raises(ResultError, match="track the grains again"):
        read_result(str(tmp_path / "lame.zarr"))


def test_a_result_written_while_it_is_made_is_shown_from_the_store(
    viewer, make_widget, frames, qtbot, tmp_path
):
    viewer.add_image(frames, **NM)
    widget = make_widget(viewer)
    widget.store.change(result_store=str(tmp_path / "own.zarr"))
    track(qtbot, widget)
    assert widget.run.message.text().startswith("Done")
    assert layer_of(viewer, "presence").data[0].any()
    widget.plot  # noqa: B018
    settle(qtbot, widget)
    assert np.isfinite(widget.plot._content.left[0].values).all()
