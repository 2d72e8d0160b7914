"""Work shared with other processes: what they are told, what they open, and who hands the parts out."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import xarray as xr

from ..errors import ClusterError
from ..io.source import VideoSource
from ..progress import Steps
from .model import Model, load_model


class Bench(Protocol):
    """A job that a process has opened."""

    def work_steps(self, part: Any) -> Steps[Any]:
        """What it makes of a part; its progress is that of the part."""


class Job(Protocol):
    """All that another process needs to know to work on parts of something."""

    def open(self) -> Bench:
        """In the process that this is called in; once for all parts."""


@dataclass(frozen=True)
class Busy:
    """How much of what is being worked on is done.

    Parameters
    ----------
    workers : int
        How many there were when the last part was done.
    shares : dict of int to float
        Of parts, 0…1, by their numbers.
    """

    workers: int
    shares: dict[int, float]


# What was made of a part, with its number; or how far the others are.
Shared = Generator[tuple[int, Any] | Busy, None, None]


class Crew(Protocol):
    """Processes that work on parts elsewhere."""

    @property
    def workers(self) -> int:
        """How many parts are worked on at once."""

    @property
    def sharing(self) -> int:
        """How many processes share the memory that is allowed."""

    def share(self, job: Job, parts: Sequence[Any]) -> Shared:
        """What a job makes of each part, with the part's number, as it comes; `Busy` ever so often."""


@dataclass(frozen=True)
class Material:
    """The video and the model of an analysis, as processes that run elsewhere find them.

    Parameters
    ----------
    source : VideoSource
    shape : tuple of int
        Of the video.
    model : str
        Name or file.
    checksum : str
        Of the model.
    version : str
        Of this program.
    """

    source: VideoSource
    shape: tuple[int, ...]
    model: str
    checksum: str
    version: str

    @classmethod
    def of(cls, source: VideoSource, video: xr.DataArray, name: str, model: Model) -> Material:
        """With paths as processes that run in other folders need them; names of shipped models stay."""
        whole = replace(source, path=str(Path(source.path).absolute()))
        file = str(Path(name).absolute()) if Path(name).is_file() else name
        return cls(whole, video.shape, file, model.checksum, version("napari-hrtem-vae"))

    def open_video(self) -> xr.DataArray:
        """The video, lazy.

        Raises
        ------
        ClusterError
            It is another than that of the process that this comes from.
        """
        video = self.source.open()
        if video.shape != self.shape:
            raise ClusterError(
                f"A worker finds another video at {self.source.path} (shape {video.shape}); "
                "give a path that is the same on all computers."
            )
        return video

    def open_model(self) -> Model:
        """The model.

        Raises
        ------
        ClusterError
            It, or this program, is another than that of the process that this comes from.
        """
        model, here = load_model(self.model), version("napari-hrtem-vae")
        if (here, model.checksum) != (self.version, self.checksum):
            raise ClusterError(
                f"A worker has version {here} of this program and model {model.checksum}, not {self.version} "
                f"and {self.checksum}; install the same on all computers."
            )
        return model


@dataclass(frozen=True)
class Elsewhere:
    """A crew, and what its processes work on."""

    crew: Crew
    material: Material

    def share(self, job: Job, parts: Sequence[Any]) -> Shared:
        """See `Crew.share`; closed with it."""
        with closing(self.crew.share(job, parts)) as working:
            yield from working
