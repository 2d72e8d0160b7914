"""How fast windows are drawn from latents: by the decoder alone, and under the sliders of the widget.

python benchmarks/latents.py [--repeats 3] [--windows 100]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import napari_hrtem_vae as hv
from napari_hrtem_vae.vae.model import Model
from napari_hrtem_vae.vae.traversal import traverse

BAR = "≥ 20"
PATIENCE_S = 120


def decoded_a_second(model: Model, count: int) -> float:
    """Windows a second, one a call."""
    z = np.random.default_rng(0).normal(size=(count, 1, model.card.latents)).astype(np.float32)
    model.decode(z[0])
    started = time.perf_counter()
    for one in z:
        model.decode(one)
    return count / (time.perf_counter() - started)


def traversal_seconds(model: Model) -> float:
    """A strip of 7 windows for every latent."""
    started = time.perf_counter()
    traverse(model)
    return time.perf_counter() - started


def slider_a_second(name: str, count: int) -> float:
    """Windows shown a second while a slider is dragged in the widget, thread and painting included."""
    from napari.components import ViewerModel
    from qtpy.QtCore import QSettings
    from qtpy.QtWidgets import QApplication

    from napari_hrtem_vae.widgets.latents import LatentsWidget

    # the user's own settings stay as they are
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, tempfile.mkdtemp())
    application = QApplication.instance() or QApplication([])
    widget = LatentsWidget(ViewerModel())
    index = [key for key, _ in widget.model._cards].index(name)
    widget.model.model_box.setCurrentIndex(index)
    widget.show()
    shown: list[None] = []
    widget.store.on("after", lambda: shown.append(None))

    def until(reached) -> None:
        end = time.monotonic() + PATIENCE_S
        while not reached():
            application.processEvents()
            if time.monotonic() > end:
                raise SystemExit(f"Waited {PATIENCE_S} s in vain for {name}.")

    until(lambda: widget.store.state.after is not None and not widget.loader.busy)
    slider = widget.sliders.sliders[widget.sliders.order[0]]
    shown.clear()
    started = time.perf_counter()
    for position in np.linspace(-250, 250, count).astype(int):
        before = len(shown)
        slider.setValue(int(position))
        until(lambda before=before: len(shown) > before)
    rate = len(shown) / (time.perf_counter() - started)
    widget.close()
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--windows", type=int, default=100)
    options = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

    table = Table(
        "from latents to windows", "pbs-64-fast", "pbs-64", "bar", title=f"{torch.get_num_threads()} threads"
    )
    names = ("pbs-64-fast", "pbs-64")
    models = [hv.load_model(name) for name in names]
    repeats = range(options.repeats)
    alone = [median(decoded_a_second(model, options.windows) for _ in repeats) for model in models]
    under = [median(slider_a_second(name, options.windows) for _ in repeats) for name in names]
    strips = [median(traversal_seconds(model) for _ in repeats) for model in models]
    table.add_row("decoder alone, windows/s", *(f"{rate:.0f}" for rate in alone), BAR)
    table.add_row("under a slider of the widget, windows/s", *(f"{rate:.0f}" for rate in under), BAR)
    table.add_row("traversal of 64 latents × 7 values, s", *(f"{seconds:.2f}" for seconds in strips), "")
    Console().print(table)


if __name__ == "__main__":
    main()
