"""Parameters of the latent analysis: one frozen dataclass, the source of options, labels and tooltips."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..errors import ParameterError

OUTLIER_RULES = ("robust", "published", "off")
DRIFT_RULES = ("off", "rigid")
SCALINGS = ("model", "window", "video")
PRECISIONS = ("float32", "bfloat16")
FIELD_TYPES = ("float32", "float16")


def _described(default: Any, label: str, tooltip: str, **limits: Any) -> Any:
    """A dataclass field with what a form needs to show it."""
    return field(default=default, metadata={"label": label, "tooltip": tooltip, **limits})


@dataclass(frozen=True)
class AnalyzeParameters:
    """How a video becomes latent maps.

    Raises
    ------
    ParameterError
        A value lies outside its range.
    """

    step: int = _described(
        8, "Step [px]", "Distance between neighbouring windows, in pixels of the model.", min=1, max=64
    )
    outliers: str = _described(
        "robust",
        "Outliers",
        "X-ray hits: 'robust' replaces pixels far above their neighbours, 'published' is the paper's rule, "
        "'off' leaves the frames as they are.",
        choices=OUTLIER_RULES,
    )
    drift: str = _described(
        "off",
        "Drift",
        "'rigid' holds the support still: drift is measured first; frames whose place cannot be told are "
        "left out, and so are places at the edges that the specimen drifted out of.",
        choices=DRIFT_RULES,
    )
    scaling: str = _described(
        "model",
        "Scaling",
        "How grey values come to 0…1: as the model was trained, each window by its own extremes, or one "
        "range for the whole video.",
        choices=SCALINGS,
    )
    level_beam: bool = _described(
        True,
        "Level the beam",
        "Divide each frame by its mean (with one range for the video): a beam that flickers or fades is no "
        "change of the sample.",
    )
    zoom: float | None = _described(
        None,
        "Zoom",
        "Factor by which frames are enlarged for the model; empty: from the pixel sizes of video and model "
        "(1 where one is unknown).",
    )
    device: str = _described("auto", "Device", "auto, cpu, cuda, cuda:1, mps.")
    precision: str = _described(
        "float32",
        "Precision",
        "bfloat16 is faster on processors made for it; on others float32 is used, whatever is chosen.",
        choices=PRECISIONS,
    )
    memory_gb: float | None = _described(
        None, "Memory [GB]", "What the analysis may take; empty: a quarter of what is free."
    )
    false_discovery_rate: float = _described(
        0.05,
        "False discoveries",
        "Share of the places called significant that may be false.",
        min=1e-6,
        max=0.5,
    )
    keep_field: bool = _described(
        True, "Keep z(t)", "Keep the latent field (needed to plot z against time), not the maps alone."
    )
    field_type: str = _described(
        "float32",
        "Store z(t) as",
        "float16 halves what z takes on the disk, and keeps three digits of it; maps are made before.",
        choices=FIELD_TYPES,
    )

    def __post_init__(self) -> None:
        if not (isinstance(self.step, int) and 1 <= self.step <= 4096):
            raise ParameterError(f"step is {self.step!r}; give a whole number of pixels from 1 to 4096.")
        for name, allowed in (
            ("outliers", OUTLIER_RULES),
            ("drift", DRIFT_RULES),
            ("scaling", SCALINGS),
            ("precision", PRECISIONS),
            ("field_type", FIELD_TYPES),
        ):
            if getattr(self, name) not in allowed:
                raise ParameterError(f"{name} is {getattr(self, name)!r}; give one of {', '.join(allowed)}.")
        if self.zoom is not None and not 0.01 <= self.zoom <= 100:
            raise ParameterError(f"zoom is {self.zoom!r}; give a factor from 0.01 to 100.")
        if self.memory_gb is not None and not self.memory_gb > 0:
            raise ParameterError(f"memory_gb is {self.memory_gb!r}; give a positive number of gigabytes.")
        if not 0 < self.false_discovery_rate < 1:
            raise ParameterError(
                f"false_discovery_rate is {self.false_discovery_rate!r}; give a share between 0 and 1."
            )
