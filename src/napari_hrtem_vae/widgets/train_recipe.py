"""How a model is trained: a recipe by name or file, its options folded away, the device."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QToolButton
from superqt import QCollapsible

from ..errors import HrtemVaeError
from ..vae.architecture import ARCHITECTURES
from ..vae.recipe import Recipe, load_recipe, recipe_names
from .form import ParameterForm
from .model_panel import DeviceBox, accelerators
from .parts import Panel, narrow, note_label, show_note
from .train_state import TrainStore
from .worker import Latest

FIRST_CHOICE = "quick"


def _row(label: str, tooltip: str, **more: Any) -> dict[str, Any]:
    return {"label": label, "tooltip": tooltip, **more}


def _trainable() -> list[str]:
    made = {name: make() for name, make in ARCHITECTURES.items()}
    return [name for name, one in made.items() if one.encoder is not None and one.decoder is not None]


@dataclass(frozen=True)
class RecipeOptions:
    """What of a recipe the form shows, in its order; fields are those of `Recipe`, doses apart."""

    architecture: str = field(
        default="unpadded",
        metadata=_row("Network", "unpadded: encodes whole frames at once, fast", choices=_trainable()),
    )
    segments: int = field(
        default=6000, metadata=_row("Segments", "Windows that are trained on", min=1, max=10_000_000)
    )
    epochs: int = field(default=10, metadata=_row("Epochs", "Passes over all segments", min=1, max=100_000))
    batch: int = field(default=64, metadata=_row("Batch", "Segments a step", min=1, max=65_536))
    learning_rate: float | None = field(default=None, metadata=_row("Learning rate", "Peak of its schedule"))
    beta: float | None = field(
        default=None, metadata=_row("β", "Weight of the Kullback-Leibler term; lower it when latents die")
    )
    warmup_epochs: int = field(
        default=3, metadata=_row("Warm-up [epochs]", "β rises to its value over these", max=100_000)
    )
    smoothing_px: float | None = field(
        default=None, metadata=_row("Smoothing [px]", "Standard deviation of the Gaussian over each frame")
    )
    scaling: str = field(
        default="video",
        metadata=_row(
            "Grey values",
            "video: one range for all windows; window: each by its own extremes",
            choices=("video", "window"),
        ),
    )
    pixel_size_nm: float | None = field(
        default=None,
        metadata=_row("Pixel size [nm]", "That images are resampled to; empty: that which most have"),
    )
    scenes: str = field(
        default="fast",
        metadata=_row(
            "Simulated scenes",
            "fast: sums of columns; multislice: atoms, slow to make",
            choices=("fast", "multislice", "both"),
        ),
    )
    target: str = field(
        default="noise-free",
        metadata=_row("Target", "What simulated segments teach", choices=("noise-free", "input")),
    )
    lowest_dose: float | None = field(default=None, metadata=_row("Dose from [e/px]", "Of simulated scenes"))
    highest_dose: float | None = field(default=None, metadata=_row("Dose to [e/px]", "Of simulated scenes"))

    @classmethod
    def of(cls, recipe: Recipe) -> RecipeOptions:
        """Those of a recipe."""
        low, high = recipe.dose_e_per_px
        names = [one.name for one in fields(cls) if not one.name.endswith("_dose")]
        return cls(**{name: getattr(recipe, name) for name in names}, lowest_dose=low, highest_dose=high)

    def applied_to(self, recipe: Recipe) -> Recipe:
        """The recipe with these options.

        Raises
        ------
        ParameterError
            A value is out of range.
        """
        names = [one.name for one in fields(self) if not one.name.endswith("_dose")]
        doses: Any = (self.lowest_dose, self.highest_dose)
        return replace(recipe, **{name: getattr(self, name) for name in names}, dose_e_per_px=doses)


class RecipePanel(Panel):
    """Part 2: recipe, options, device."""

    def __init__(self, store: TrainStore) -> None:
        super().__init__("Recipe")
        self._store = store
        self._latest = Latest(lambda text: store.say(text, error=True))
        self.recipe_box = narrow(QComboBox())
        self.load_button = QToolButton()
        self.load_button.setText("Load file…")
        self.load_button.setToolTip("Use a recipe file (.yaml) of your own")
        self.note = note_label()
        self.device_box = DeviceBox()
        narrow(self.device_box)
        self.device_box.addItem("Automatic", "auto")
        self.device_box.addItem("CPU", "cpu")
        self.form = ParameterForm(RecipeOptions())
        self.form.add_row("Device", self.device_box)
        self.options = QCollapsible("Options", expandedIcon="▾", collapsedIcon="▸")
        self.options.layout().setContentsMargins(0, 0, 0, 0)
        self.options.addWidget(self.form)
        row = QHBoxLayout()
        row.addWidget(self.recipe_box, 1)
        row.addWidget(self.load_button)
        self.column.addLayout(row)
        self.column.addWidget(self.note)
        self.column.addWidget(self.options)
        for name in recipe_names():
            self.recipe_box.addItem(name, name)
        self.recipe_box.setCurrentIndex(max(0, self.recipe_box.findData(FIRST_CHOICE)))
        self.recipe_box.currentIndexChanged.connect(self._picked)
        self.load_button.clicked.connect(self._ask_for_file)
        self.form.edited.connect(self._edited)
        self.device_box.opened.connect(lambda: self._latest.submit(accelerators, self._add_devices))
        self.device_box.currentIndexChanged.connect(
            lambda index: store.change(device=self.device_box.itemData(index))
        )
        store.on("recipe", self._show)
        self._picked(self.recipe_box.currentIndex())

    def shut_down(self) -> None:
        """Drop what still runs."""
        self._latest.close()

    def load_file(self, path: str | Path) -> None:
        """Use a recipe file; a wrong one is refused with a sentence, and the choice stays as it was."""
        try:
            load_recipe(path)
        except HrtemVaeError as error:
            self._store.say(str(error), error=True)
            return
        index = self.recipe_box.findData(str(path))
        if index < 0:
            self.recipe_box.addItem(f"{Path(path).stem} (file)", str(path))
            index = self.recipe_box.count() - 1
        self.recipe_box.setCurrentIndex(index)
        self._picked(index)

    def _picked(self, index: int) -> None:
        try:
            recipe = load_recipe(self.recipe_box.itemData(index))
        except HrtemVaeError as error:
            self._store.say(str(error), error=True)
            return
        self._store.change(recipe=recipe)
        self.form.show_parameters(RecipeOptions.of(recipe))

    def _edited(self) -> None:
        try:
            recipe = self.form.parameters().applied_to(self._store.state.recipe)
        except HrtemVaeError as error:
            self._store.say(str(error), error=True)
            return
        self._store.change(recipe=recipe)
        self._store.say("")

    def _show(self) -> None:
        recipe = self._store.state.recipe
        show_note(
            self.note,
            f"{recipe.architecture} network · {recipe.segments} segments · {recipe.epochs} epochs",
        )

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load a recipe", "", "Recipes (*.yaml *.yml)")
        if path:
            self.load_file(path)

    def _add_devices(self, found: list[tuple[str, str]]) -> None:
        for label, key in found:
            if self.device_box.findData(key) < 0:
                self.device_box.addItem(label, key)
