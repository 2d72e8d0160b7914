"""Make the pictures of the docs: what a user sees who opens the sample and clicks Analyze, or Track.

Run by `make pictures`. The window is the real one, 1366 × 768 px; on Linux under Xvfb, unless given `--here`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

IMAGES = Path(__file__).parent / "images"
WIDTH, HEIGHT = 1366, 768
PATIENCE_S = 900
REGION_SITES = 2.5  # half the side of a region


def main() -> int:
    """Parse the command line, make the pictures, say where they are."""
    makers: dict[str, Callable[[Path, Path], list[Path]]] = {
        "analyze": make_analyze_pictures,
        "lattice": make_lattice_pictures,
        "simulate": make_simulate_picture,
        "watch": make_watch_picture,
        "train": make_train_picture,
        "latents": make_latents_pictures,
        "meaning": make_meaning_pictures,
        "models": make_training_figures,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", choices=[*makers, []], help="which; default: all")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder for the pictures")
    parser.add_argument("--here", action="store_true", help="use this screen instead of Xvfb")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, screen(arguments.here):
        # A fresh user's window: nothing remembered, neither by napari nor by the widgets.
        os.environ["NAPARI_CONFIG"] = str(Path(scratch) / "napari.yaml")
        from qtpy.QtCore import QSettings

        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, scratch)
        for page in arguments.pages or makers:
            for picture in makers[page](arguments.out, Path(scratch)):
                print(picture)
    return 0


def screen(here: bool) -> Any:
    """The screen that the window opens on."""
    if here or sys.platform != "linux":
        return nullcontext()
    os.environ.pop("WAYLAND_DISPLAY", None)
    os.environ["QT_QPA_PLATFORM"] = "xcb"
    from pyvirtualdisplay import Display

    return Display(visible=False, size=(WIDTH, HEIGHT))


def open_widget(name: str, *, sample: bool = True) -> tuple[Any, Any]:
    """A window of the size of a laptop's screen, with the sample and a widget of the menu."""
    import napari

    viewer = napari.Viewer()
    viewer.window.resize(WIDTH, HEIGHT)
    if sample:
        viewer.open_sample("napari-hrtem-vae", "annealing-pair")
    _, widget = viewer.window.add_plugin_dock_widget("napari-hrtem-vae", name)
    return viewer, widget


def make_analyze_pictures(folder: Path, _: Path) -> list[Path]:
    """Go through the window as a user does, and photograph it."""
    viewer, widget = open_widget("Analyze")
    settle(1)

    widget.run.button.click()
    wait_until(lambda: widget.run.work is None, "the analysis ends")
    state = widget.store.state
    if state.result is None or state.running or not state.result.data_vars:
        raise SystemExit(f"The analysis failed: {state.message.text}")
    # The highest latent of this model shows the crystal's edge, whose shrinking a reader can see at once.
    widget.store.change(latent=int(state.result.sizes["latent"]) - 1)
    draw_regions(viewer, widget)
    viewer.dims.set_current_step(0, state.result.sizes["time"] // 2)
    settle(2)
    viewer.reset_view()  # the plot has taken its place by now
    settle(1)
    pictures = [folder / "analyze.png", folder / "region.png", folder / "overview.png"]
    viewer.screenshot(str(pictures[0]), canvas_only=False, flash=False)
    widget.plot.export_figure(pictures[1])
    widget.show_overview()
    settle(2)
    viewer.screenshot(str(pictures[2]), canvas_only=False, flash=False)
    viewer.close()
    return pictures


def make_train_picture(folder: Path, scratch: Path) -> list[Path]:
    """Train a small model on the sample and on simulated scenes, as a user does, and photograph it."""
    from dataclasses import replace

    from qtpy.QtCore import Qt

    viewer, widget = open_widget("Train")
    for index in range(widget.sources.list.count()):
        widget.sources.list.item(index).setCheckState(Qt.CheckState.Checked)
    short = replace(widget.store.state.recipe, segments=2000, epochs=8)
    widget.store.change(recipe=short, place=str(scratch / "own.safetensors"))
    widget.segments.button.click()
    wait_until(lambda: widget.segments.work is None, "the segments are picked")
    widget.run.button.click()
    wait_until(lambda: widget.run.work is None, "the training ends")
    if not widget.store.state.epochs:
        raise SystemExit(f"The training failed: {widget.store.state.message.text}")
    settle(2)
    path = folder / "train.png"
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    viewer.close()
    return [path]


def make_latents_pictures(folder: Path, _: Path) -> list[Path]:
    """Click the boundary of the sample's crystals, move two latents, and photograph window and strips."""
    viewer, widget = open_widget("Latents")
    settle(1)
    wait_until(lambda: widget.store.state.after is not None, "the model is read")
    widget.picker.pick(viewer.layers[0].data_to_world((0, 200, 330)))
    wait_until(lambda: widget.store.state.complete, "the site is followed")
    viewer.dims.set_current_step(0, 20)
    settle(2)
    wait_until(lambda: not widget.site.busy, "the window is read")
    for latent, position in zip(widget.sliders.order, (200, -220), strict=False):
        widget.sliders.sliders[latent].setValue(position)
    viewer.reset_view()
    settle(1)
    pictures = [folder / "latents.png", folder / "path.png", folder / "traversal.png"]
    viewer.screenshot(str(pictures[0]), canvas_only=False, flash=False)
    widget.dock.path.export_figure(pictures[1])
    widget.dock.setCurrentIndex(1)
    settle(1)
    wait_until(lambda: not widget.dock.strips.busy, "the strips are drawn")
    widget.dock.strips.export(pictures[2])
    viewer.close()
    return pictures


def make_meaning_pictures(folder: Path, scratch: Path) -> list[Path]:
    """Maps of two latents, of crystals that turn while one shrinks: what Fig. 4b of the paper shows."""
    import napari_hrtem_vae as hv
    from napari_hrtem_vae.simulate.writing import save_simulation

    pair = hv.simulate("annealing-pair", dose=50, rows=640, columns=1024, seed=1601)
    video, _ = save_simulation(pair, scratch / "pair.zarr")
    viewer, widget = open_widget("Analyze", sample=False)
    viewer.open(str(video), plugin="napari-hrtem-vae")
    settle(1)
    widget.model.model_box.setCurrentText("pbs-64")
    widget.run.button.click()
    wait_until(lambda: widget.run.work is None, "the analysis ends")
    pictures = []
    for latent, name in ((58, "inside"), (26, "edges")):
        widget.store.change(latent=latent)
        settle(2)
        viewer.reset_view()
        settle(1)
        pictures.append(folder / f"{name}.png")
        viewer.screenshot(str(pictures[-1]), canvas_only=False, flash=False)
    viewer.close()
    return pictures


def make_training_figures(folder: Path, _: Path) -> list[Path]:
    """How the models of the package learned: no window, the figures of `hrtem-vae models --export`."""
    from napari_hrtem_vae.vae.card import list_models
    from napari_hrtem_vae.vae.training_figures import save_training_figure

    return [save_training_figure(card, folder) for card in list_models()]


def make_simulate_picture(folder: Path, _: Path) -> list[Path]:
    """Simulate crystals of which each does something else."""
    viewer, widget = open_widget("Simulate", sample=False)
    widget.scenario.setCurrentText("rotation+shrinkage+static")
    widget.button.click()
    wait_until(lambda: widget.work is None, "the simulation ends")
    if not viewer.layers:
        raise SystemExit(f"The simulation failed: {widget.message.text()}")
    viewer.dims.set_current_step(0, viewer.dims.range[0].stop)
    settle(2)
    viewer.reset_view()
    settle(1)
    path = folder / "simulate.png"
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    viewer.close()
    return [path]


def make_watch_picture(folder: Path, scratch: Path) -> list[Path]:
    """Follow the sample while its frames are written one by one, as a camera does, and photograph it."""
    import numpy as np
    from qtpy.QtWidgets import QScrollArea

    viewer, widget = open_widget("Analyze")
    frames = viewer.layers[0].data
    viewer.layers.clear()
    recording = scratch / "recording"
    recording.mkdir()
    widget.live.follow(recording)
    wait_until(lambda: "Waiting for frames in" in widget.live.note.text(), "the watch has begun")
    for number, frame in enumerate(frames):
        np.save(recording / f"frame_{number:04d}.npy", np.asarray(frame))
        settle(0.5)
    # A computer that is busy may have skipped some.
    grown = lambda: len(viewer.layers) > 1 and len(viewer.layers[0].data) == len(frames)  # noqa: E731
    wait_until(grown, "all frames are there")
    # The highest latent of this model shows the crystal's edge, whose shrinking a reader can see at once.
    widget.store.change(latent=int(widget.store.state.result.sizes["latent"]) - 1)
    settle(2)
    viewer.reset_view()
    settle(1)
    path = folder / "watch.png"
    widget.findChild(QScrollArea).ensureWidgetVisible(widget.live)
    settle(0.5)
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    widget.live.switch.setChecked(False)
    wait_until(lambda: widget.live.work is None, "the watch ends")
    viewer.close()
    return [path]


def make_lattice_pictures(folder: Path, _: Path) -> list[Path]:
    """Track the grains of the sample as a user does, and photograph spectrum, change and misfit."""
    viewer, widget = open_widget("Lattice")
    settle(1)
    widget.run.button.click()
    wait_until(lambda: widget.run.work is None, "the grains are followed")
    state = widget.store.state
    if state.result is None:
        raise SystemExit(f"The tracking failed: {state.message.text}")
    wait_until(lambda: not widget.layers.busy and not widget.feed.busy, "the maps are there")
    widget.plots.right_box.setCurrentIndex(widget.plots.right_box.findData("area"))
    viewer.dims.set_current_step(0, state.result.sizes["time"] // 2)
    settle(2)
    viewer.reset_view()
    settle(1)
    pictures = [folder / "lattice.png", folder / "misfit.png"]
    viewer.screenshot(str(pictures[0]), canvas_only=False, flash=False)
    widget.plot.export_figure(pictures[1])
    viewer.close()
    return pictures


def draw_regions(viewer: Any, widget: Any) -> None:
    """A rectangle on the place where the latent changes most, and one where least changes at all."""
    import numpy as np
    from scipy.ndimage import uniform_filter

    result, placement = widget.store.state.result, widget.store.state.placement
    change = np.nan_to_num(np.asarray(result["change"], float))
    shown = result["time_correlated_variance"].isel(latent=widget.store.state.latent)
    busiest = uniform_filter(np.nan_to_num(shown.values), int(2 * REGION_SITES)).argmax()
    centres = [np.unravel_index(index, change.shape) for index in (busiest, quietest(change))]
    widget.region.draw_button.click()
    layer = widget.region.layer
    for y, x in centres:
        low, high = -REGION_SITES, REGION_SITES
        corners = [(y + low, x + low), (y + low, x + high), (y + high, x + high), (y + high, x + low)]
        world = placement.sites_to_world(corners)
        layer.add_rectangles(np.array([layer.world_to_data(tuple(corner)) for corner in world]))
    layer.mode = "pan_zoom"
    wait_until(lambda: len(widget.store.state.regions) == len(centres), "the regions are read")
    # The video stays selected, as after the analysis: its frames are what one steps through.
    viewer.layers.selection.active = widget.store.state.video


def quietest(change: Any) -> int:
    """Flat index of the site, off the rim, whose neighbourhood shows the least change."""
    import numpy as np
    from scipy.ndimage import maximum_filter

    rim = int(np.ceil(REGION_SITES))
    nearby = maximum_filter(change, size=2 * rim + 1)
    inner = np.full(change.shape, np.inf)
    inner[rim:-rim, rim:-rim] = nearby[rim:-rim, rim:-rim]
    return int(inner.argmin())


def settle(seconds: float) -> None:
    """Let the window do what it has to do."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, "the time is over")


def wait_until(reached: Callable[[], bool], what: str) -> None:
    """Keep the window alive until `reached()`."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + PATIENCE_S
    while not reached():
        if time.monotonic() > end:
            raise SystemExit(f"Waited {PATIENCE_S} s in vain until {what}.")
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
