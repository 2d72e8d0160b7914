"""What a watch tells: what became of the files, sentences about it, and the labels of its result."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from ..io.growing import FrameFile, GrowingFolder, State
from ..io.results import plain_attributes
from ..io.results_probe import RESULT_KEY
from .layout import meanings_of
from .live_encoder import LiveEncoder
from .model import Model
from .parameters import AnalyzeParameters

# Why a watch ended.
STOPPED, UNTIL, IDLE, GONE = "stopped", "until", "idle", "gone"


@dataclass(frozen=True)
class Counts:
    """What became of the files of a recording.

    Parameters
    ----------
    landed : int
        Files of the series: the sum of all others but `foreign` and `missing`.
    frames : int
        Frames that were analysed.
    waiting, skipped, broken, other_size, late, earlier : int
        Files that are not whole yet or have not been read; left out because frames came too fast; that
        stayed broken; of another size; that landed after much newer ones; that were there before the last
        ones when the watch began.
    unusable : int
        Of the frames here: constant, not numbers, or with the beam off.
    foreign : int
        Other files in the folder.
    missing : int or None
        Numbers without a file; None where names do not count frames.
    """

    landed: int = 0
    frames: int = 0
    waiting: int = 0
    skipped: int = 0
    broken: int = 0
    other_size: int = 0
    late: int = 0
    earlier: int = 0
    unusable: int = 0
    foreign: int = 0
    missing: int | None = 0

    @property
    def done(self) -> int:
        """Files that no more is to be done with."""
        return self.frames + self.skipped + self.broken + self.other_size + self.late + self.earlier


def count_files(folder: GrowingFolder) -> Counts:
    """What became of the files of a folder; which of them are analysed frames it does not know."""
    return Counts(
        landed=folder.found,
        skipped=folder.count(State.SKIPPED),
        broken=folder.count(State.BROKEN),
        other_size=folder.count(State.OTHER_SIZE),
        late=folder.count(State.LATE),
        earlier=folder.count(State.EARLIER),
        foreign=folder.foreign,
        missing=folder.missing,
    )


def notices(counts: Counts, shown: int) -> list[str]:
    """Sentences for the user about what was left out, and why; `shown` frames are in the maps."""
    told = [f"The maps are of the last {shown} frames."]
    reasons = (
        (counts.earlier, "were there before and are left to analyze"),
        (counts.skipped, "were skipped: they came faster than this computer analyses them"),
        (counts.broken, "cannot be read and were left out"),
        (counts.other_size, "are of another size than the others and were left out"),
        (counts.late, "landed after much newer ones and were left out"),
        (counts.unusable, "of the last are constant, hold NaN, or were taken with the beam off"),
        (counts.missing or 0, "are missing from the numbering"),
        (counts.foreign, "in the folder are of other names or numbers twice, and were left alone"),
    )
    return told + [f"{count} frame(s) {reason}." for count, reason in reasons if count]


def coordinates(
    folder: GrowingFolder, files: list[FrameFile], encoder: LiveEncoder, frame_time_s: float | None
) -> dict[str, xr.DataArray]:
    """Coordinates of z of some frames; time has gaps where numbers are missing."""
    places = [folder.place(file) for file in files]
    known = frame_time_s is not None and all(place is not None for place in places)
    time = np.array(places if known else range(len(files)), float) * (frame_time_s or 1.0)
    grid = encoder.grid
    latents = np.arange(encoder.shape[-1])
    return {
        "time": xr.DataArray(time, dims="time", attrs={"units": "s" if frame_time_s else "frame"}),
        "y": xr.DataArray(grid.y, dims="y", attrs={"units": grid.unit}),
        "x": xr.DataArray(grid.x, dims="x", attrs={"units": grid.unit}),
        "latent": xr.DataArray(latents, dims="latent", attrs={"long_name": "rank by variance in training"}),
    }


def result_attributes(
    folder: GrowingFolder,
    model: Model,
    parameters: AnalyzeParameters,
    encoder: LiveEncoder,
    pixel_size_nm: float | None,
    frame_time_s: float | None,
) -> dict[str, Any]:
    """How a result was made, named as `analyze` names it."""
    return plain_attributes(
        {
            RESULT_KEY: "analysis",
            "source": str(folder.folder),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "pixel_size_nm": pixel_size_nm,
            "frame_time_s": frame_time_s,
            "model": model.card.name,
            "model_checksum": model.checksum,
            "parameters": json.dumps(asdict(parameters)),
            "window_px": encoder.grid.window,
            "zoom": encoder.grid.zoom,
            "device": encoder.device,
            "version": version("napari-hrtem-vae"),
            **meanings_of(model),
        }
    )
