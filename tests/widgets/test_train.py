"""The widget Train over a viewer without a window: sources, recipe, preview, training, what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from qtpy.QtCore import QStandardPaths, Qt

from napari_hrtem_vae.errors import ModelFileError, TrainingError
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.simulate.segments import SegmentParameters, segments_steps
from napari_hrtem_vae.vae.card import read_card
from napari_hrtem_vae.vae.recipe import load_recipe
from napari_hrtem_vae.widgets.settings import own_models
from napari_hrtem_vae.widgets.train import TrainWidget
from napari_hrtem_vae.widgets.train_segments import step_of, threshold_at
from napari_hrtem_vae.widgets.train_sources import SIMULATED
from napari_hrtem_vae.widgets.train_work import Kept, free_place, keep_the_best_steps

PIXEL_NM = 0.014


@pytest.fixture(scope="session")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four simulated PbS stills of scenes of their own, 192 × 192 px."""
    folder = tmp_path_factory.mktemp("stills")
    for seed in range(4):
        of_a_scene = SegmentParameters(
            count=1, window=192, dose_e_per_px=(200, 200), smoothing_px=0.0, seed=seed
        )
        (picture,), _ = run(segments_steps(of_a_scene))
        tifffile.imwrite(
            folder / f"still-{seed}.tif",
            np.rint(4000 * picture).astype(np.uint16),
            imagej=True,
            resolution=(1 / PIXEL_NM, 1 / PIXEL_NM),
            metadata={"unit": "nm"},
        )
    return folder


@pytest.fixture(autouse=True)
def own_place():
    """The user's own folder is left alone."""
    QStandardPaths.setTestModeEnabled(True)
    yield
    QStandardPaths.setTestModeEnabled(False)


@pytest.fixture
def train_widget(qtbot, viewer, tmp_path):
    """A Train widget with a tiny recipe that writes to the test's folder."""
    widget = TrainWidget(viewer)
    make_tiny(widget, tmp_path)
    yield widget
    work = widget.run.work
    widget.shut_down()
    if work is not None:
        work.join(30)
    widget.deleteLater()


def make_tiny(widget: TrainWidget, folder: Path, **changes) -> None:
    # so little to train on, and yet latents live: small batches, a small β
    tiny = {
        "segments": 128,
        "epochs": 2,
        "warmup_epochs": 1,
        "batch": 8,
        "beta": 1e-3,
        "learning_rate": 3e-3,
    } | changes
    widget.store.change(
        recipe=replace(widget.store.state.recipe, **tiny), place=str(folder / "model.safetensors")
    )


def click(qtbot, button) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def train(qtbot, widget: TrainWidget) -> str:
    click(qtbot, widget.run.button)
    qtbot.waitUntil(lambda: widget.run.work is None, timeout=120_000)
    return widget.run.message.text()


def wait_for_an_epoch_to_keep(qtbot, widget: TrainWidget) -> None:
    qtbot.waitUntil(lambda: any(one.best is not None for one in widget.store.state.epochs), timeout=120_000)


def tick(widget: TrainWidget, name: str) -> None:
    (item,) = widget.sources.list.findItems(name, Qt.MatchFlag.MatchExactly)
    item.setCheckState(Qt.CheckState.Checked)


def test_a_folder_of_stills_becomes_a_model_that_analyze_offers_at_once(
    qtbot, train_widget, stills, tmp_path, make_widget
):
    analyze = make_widget(ViewerModel())
    train_widget.sources.add_files([str(stills)])
    make_tiny(train_widget, tmp_path, segments=256)
    said = train(qtbot, train_widget)
    assert said.startswith("Done")
    path = tmp_path / "model.safetensors"
    card = read_card(path)
    assert (card.name, card.material) == ("model", "own images")
    assert len(card.training["curves"]) == 2
    assert card.pixel_size_nm == pytest.approx(PIXEL_NM, rel=1e-3)
    epochs = train_widget.store.state.epochs
    assert [one.epoch for one in epochs] == [1, 2]
    assert len(train_widget.plot.canvas.figure.axes) == 4
    assert analyze.model.model_box.findText("model (own)") >= 0
    assert own_models() == [str(path)]
    analyze.model.model_box.setCurrentIndex(analyze.model.model_box.findText("model (own)"))
    assert analyze.store.state.card.training["epoch"] in (1, 2)
    # the next one goes elsewhere
    assert train_widget.store.state.place == str(tmp_path / "model-2.safetensors")


def test_the_preview_shows_segments_the_share_and_what_the_slider_does(qtbot, train_widget, stills):
    train_widget.sources.add_files([str(stills)])
    panel = train_widget.segments
    click(qtbot, panel.button)
    qtbot.waitUntil(
        lambda: panel.work is None and train_widget.store.state.preview is not None, timeout=60_000
    )
    automatic = train_widget.store.state.preview
    assert 0 < automatic.share < 1
    assert panel.note.text().startswith(f"{automatic.share:.0%} of {len(automatic.scores)} segments")
    assert panel.sheet._model.rowCount() == len(automatic.windows) > 0
    assert panel.value.text() == f"≥ {automatic.threshold:.3g}"
    panel.slider.setValue(panel.slider.maximum())
    assert not panel.automatic.isChecked()
    assert train_widget.store.state.recipe.fringe_threshold == 1000
    kept = np.mean(automatic.scores >= 1000)
    assert panel.note.text().startswith(f"{kept:.0%} of")
    qtbot.waitUntil(lambda: train_widget.store.state.preview is not automatic, timeout=60_000)
    assert train_widget.store.state.preview.threshold == 1000
    panel.slider.setValue(0)
    assert panel.value.text() == "all"
    assert panel.note.text().startswith("100%")
    panel.automatic.setChecked(True)
    assert train_widget.store.state.recipe.fringe_threshold is None
    qtbot.waitUntil(lambda: panel.work is None and not panel._timer.isActive(), timeout=60_000)


@pytest.mark.parametrize("threshold", [0.0, 1.0, 12.0, 55.0, 1000.0])
def test_the_slider_stands_where_its_threshold_is(threshold: float) -> None:
    assert threshold_at(step_of(threshold)) == pytest.approx(threshold, rel=0.03)


def test_cancelling_keeps_the_best_so_far_and_an_analyze_opened_later_offers_it(
    qtbot, train_widget, tmp_path, make_widget
):
    tick(train_widget, SIMULATED)
    make_tiny(train_widget, tmp_path, epochs=500)
    click(qtbot, train_widget.run.button)
    wait_for_an_epoch_to_keep(qtbot, train_widget)
    click(qtbot, train_widget.run.button)
    assert train_widget.run.button.text() == "Cancelling…"
    qtbot.waitUntil(lambda: train_widget.run.work is None, timeout=30_000)
    assert "the best so far is kept" in train_widget.run.message.text()
    card = read_card(tmp_path / "model.safetensors")
    assert len(card.training["curves"]) >= card.training["epoch"] >= 1
    assert make_widget(ViewerModel()).model.model_box.findText("model (own)") >= 0
    assert own_models() == [str(tmp_path / "model.safetensors")]


def test_cancelling_before_the_first_epoch_says_that_nothing_is_saved(qtbot, train_widget, tmp_path):
    tick(train_widget, SIMULATED)
    click(qtbot, train_widget.run.button)
    click(qtbot, train_widget.run.button)
    qtbot.waitUntil(lambda: train_widget.run.work is None, timeout=60_000)
    assert "nothing is saved" in train_widget.run.message.text()
    assert list(tmp_path.glob("*.safetensors")) == []
    assert train_widget.run.button.text() == "Train"


def test_closing_the_widget_in_a_run_keeps_the_best_so_far(qtbot, train_widget, tmp_path):
    tick(train_widget, SIMULATED)
    make_tiny(train_widget, tmp_path, epochs=500)
    click(qtbot, train_widget.run.button)
    wait_for_an_epoch_to_keep(qtbot, train_widget)
    work = train_widget.run.work
    train_widget.close()
    qtbot.waitUntil(lambda: not work.running, timeout=30_000)
    assert read_card(tmp_path / "model.safetensors").training["epoch"] >= 1


def test_a_model_that_cannot_be_written_is_kept_and_goes_elsewhere(
    qtbot, train_widget, tmp_path, monkeypatch
):
    """The disk fills up while the training runs."""
    from napari_hrtem_vae.vae import model as models

    save = models.save_model

    def full(model, path, **options):
        raise ModelFileError(f"The model cannot be written to {path} (No space left on device).")

    tick(train_widget, SIMULATED)
    monkeypatch.setattr(models, "save_model", full)
    said = train(qtbot, train_widget)
    assert "No space left" in said
    assert not train_widget.run.save_button.isHidden()
    monkeypatch.setattr(models, "save_model", save)
    train_widget.run.save_kept(tmp_path / "elsewhere.safetensors")
    assert read_card(tmp_path / "elsewhere.safetensors").training["segments"] == 128
    assert train_widget.run.save_button.isHidden()
    assert own_models() == [str(tmp_path / "elsewhere.safetensors")]


def test_what_is_missing_is_said_in_the_widget(qtbot, train_widget, tmp_path):
    click(qtbot, train_widget.run.button)
    assert "Choose what to train on" in train_widget.run.message.text()
    click(qtbot, train_widget.segments.button)
    assert "Choose what to train on" in train_widget.run.message.text()
    tick(train_widget, SIMULATED)
    (tmp_path / "model.safetensors").write_text("mine")
    assert "exists already" in train(qtbot, train_widget)
    assert (tmp_path / "model.safetensors").read_text() == "mine"
    train_widget.store.change(place=str(tmp_path / "model.txt"))
    assert "no name of a model" in train(qtbot, train_widget)
    (tmp_path / "noise.txt").write_text("nothing")
    train_widget.sources.add_files([str(tmp_path / "noise.txt")])
    train_widget.store.change(place=str(tmp_path / "new.safetensors"))
    assert "noise.txt" in train(qtbot, train_widget)
    assert not train_widget.store.state.running


def test_images_without_fringes_are_said(qtbot, train_widget, viewer):
    film = np.random.default_rng(0).poisson(20, (4, 160, 160)).astype(np.uint16)
    viewer.add_image(film, name="film")
    tick(train_widget, "film")
    assert "No lattice fringes were found" in train(qtbot, train_widget)


def test_layers_come_and_go_and_keep_their_ticks(train_widget, viewer):
    first = viewer.add_image(np.zeros((3, 80, 80)), name="a", contrast_limits=(0, 1))
    tick(train_widget, "a")
    second = viewer.add_image(np.zeros((3, 80, 80)), name="b", contrast_limits=(0, 1))
    second.name = "c"
    names = [train_widget.sources.list.item(i).text() for i in range(train_widget.sources.list.count())]
    assert names == ["a", "c", SIMULATED]
    assert train_widget.store.state.layers == (first,)
    viewer.layers.remove(first)
    assert train_widget.store.state.layers == ()


def test_options_change_the_recipe_and_wrong_ones_are_said(train_widget, tmp_path):
    form = train_widget.recipe.form
    train_widget.recipe.recipe_box.setCurrentIndex(train_widget.recipe.recipe_box.findData("pbs-64-fast"))
    assert train_widget.store.state.recipe.segments == load_recipe("pbs-64-fast").segments
    form._rows["epochs"].value = 5
    form._rows["beta"].value = "0.25"
    recipe = train_widget.store.state.recipe
    assert (recipe.epochs, recipe.beta) == (5, 0.25)
    form._rows["beta"].value = "-1"
    assert "beta is -1" in train_widget.run.message.text()
    assert train_widget.store.state.recipe.beta == 0.25
    form._rows["beta"].value = "0.2"
    assert train_widget.run.message.text() == ""
    (tmp_path / "bad.yaml").write_text("epocs: 3")
    train_widget.recipe.load_file(tmp_path / "bad.yaml")
    assert "epocs" in train_widget.run.message.text()
    assert train_widget.store.state.recipe.beta == 0.2
    (tmp_path / "good.yaml").write_text("epochs: 3")
    train_widget.recipe.load_file(tmp_path / "good.yaml")
    assert train_widget.store.state.recipe.epochs == 3


def test_a_free_place_is_no_file_that_exists(tmp_path):
    assert free_place(tmp_path, "own").name == "own.safetensors"
    (tmp_path / "own.safetensors").touch()
    (tmp_path / "own-2.safetensors").touch()
    assert free_place(tmp_path, "own").name == "own-3.safetensors"


def test_a_model_that_came_meanwhile_is_not_replaced(tmp_path, model_file):
    from napari_hrtem_vae.vae.model import load_model

    place = tmp_path / "own.safetensors"
    place.write_bytes(b"of another window")
    kept = Kept()
    kept.keep(load_model(model_file), place)
    assert place.read_bytes() == b"of another window"
    assert kept.path == tmp_path / "own-2.safetensors"
    assert read_card(kept.path).name == "tiny"


def test_a_training_that_fails_leaves_the_best_before(tmp_path, model_file):
    from napari_hrtem_vae.vae.model import load_model
    from napari_hrtem_vae.vae.training import Epoch

    def diverging():
        yield Epoch(1, 2, epoch=1, epochs=2, best=lambda: load_model(model_file))
        raise TrainingError("Training diverged in epoch 2.")

    kept, place = Kept(), tmp_path / "best.safetensors"
    with pytest.raises(TrainingError, match="diverged"):
        run(keep_the_best_steps(diverging(), place, kept))
    assert kept.path == place
    assert read_card(place).name == "tiny"
