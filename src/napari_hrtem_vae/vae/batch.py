"""Many videos, one table: each analysed into a store of its own; one that fails does not stop the others."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import CancelledError, HrtemVaeError, ParameterError, ResultError
from ..io.export import save_table_csv
from ..io.results import check_place, open_result
from ..io.source import VideoSource
from ..progress import Progress, Steps
from .analysis import CONNECTING, analyze_steps, connected_crew
from .crew import Crew, Elsewhere, Material
from .layout import result_parameters
from .model import load_model
from .parameters import AnalyzeParameters
from .stored import analyze_into_store_steps

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchRow:
    """What became of one video.

    Parameters
    ----------
    video, result : str
        Paths.
    frames, left_out_frames, sites_y, sites_x, hotspots : int
        Counts; -1 where the video failed, as hotspots of a still.
    unit : str
        Of lengths: "nm" or "px".
    changed_area, strongest_y, strongest_x, strongest_area, strongest_strength : float
        Of all hotspots together, and of the strongest; NaN where there is none.
    error : str
        A sentence; empty where all went well.
    """

    video: str
    result: str
    frames: int = -1
    left_out_frames: int = -1
    sites_y: int = -1
    sites_x: int = -1
    hotspots: int = -1
    unit: str = ""
    changed_area: float = np.nan
    strongest_y: float = np.nan
    strongest_x: float = np.nan
    strongest_area: float = np.nan
    strongest_strength: float = np.nan
    error: str = ""

    def told(self) -> dict[str, Any]:
        """What is known, by name."""
        values = asdict(self).items()
        return {name: value for name, value in values if not (value == -1 or value != value)}


def analyze_batch_steps(
    videos: Sequence[VideoSource],
    folder: str | Path,
    model: str,
    parameters: AnalyzeParameters,
    *,
    table: str | Path | None = None,
    workers: int = 0,
    cluster: str = "",
) -> Steps[list[BatchRow]]:
    """Analyse videos one after the other; run again, it takes up what is finished and goes on.

    Parameters
    ----------
    videos : sequence of VideoSource
    folder : path
        Where the stores go, each named after its video.
    model : str
        Name or file.
    parameters : AnalyzeParameters
    table : path, optional
        CSV, a row a video; written anew after each.
    workers, cluster
        See `analyze_shared_steps`.

    Returns
    -------
    list of BatchRow
        In the order of `videos`; those that failed have an error.

    Raises
    ------
    ParameterError
        There is no video, or two have one name.
    ResultError
        The folder or the table cannot be written.
    ModelFileError, ClusterError
    """
    stores = _stores(videos, Path(folder))
    rows: list[BatchRow] = []
    load_model(model)
    if workers or cluster:
        yield CONNECTING
    with _crew(workers, cluster) as crew:
        for number, (source, store) in enumerate(zip(videos, stores, strict=True)):
            name = f"Video {number + 1} of {len(videos)}, {Path(source.path).name}"
            yield Progress(number, len(videos), name)
            try:
                result = yield from _one_video_steps(source, store, model, parameters, crew, name)
                rows.append(_row(source, store, result))
            except CancelledError:
                raise
            except HrtemVaeError as error:
                rows.append(BatchRow(source.path, str(store), error=str(error)))
            except Exception as error:  # the others are still to be done, without anybody there
                log.exception("%s failed", source.path)
                rows.append(BatchRow(source.path, str(store), error=f"{type(error).__name__}: {error}"))
            if table is not None:
                save_table_csv(table, table_columns(rows))
    return rows


def _stores(videos: Sequence[VideoSource], folder: Path) -> list[Path]:
    """A store for each video."""
    if not videos:
        raise ParameterError("There is no video; give one or more.")
    stores = [folder / f"{Path(source.path).stem}-result.zarr" for source in videos]
    first: dict[Path, str] = {}
    for source, store in zip(videos, stores, strict=True):
        if store in first:
            raise ParameterError(
                f"{first[store]} and {source.path} would have one result, {store.name}; "
                "give one of them another name, or analyse them into two folders."
            )
        first[store] = source.path
    return stores


def _crew(workers: int, cluster: str) -> AbstractContextManager[Crew | None]:
    return connected_crew(workers, cluster) if workers or cluster else nullcontext()


def _one_video_steps(
    source: VideoSource, store: Path, model: str, parameters: AnalyzeParameters, crew: Crew | None, name: str
) -> Steps[xr.Dataset]:
    """One video, or what an earlier run made of it."""
    finished = _finished(source, store, model, parameters)
    if finished is not None:
        return finished
    video, loaded = source.open(), load_model(model)
    if crew is None:
        steps = analyze_steps(video, loaded, parameters, store=store)
    else:
        check_place(store)
        elsewhere = Elsewhere(crew, Material.of(source, video, model, loaded))
        steps = analyze_into_store_steps(video, loaded, parameters, store, elsewhere)
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            result: xr.Dataset = end.value
            return result
        yield replace(progress, message=f"{name}: {progress.message}", finished=None)


def _finished(
    source: VideoSource, store: Path, model: str, parameters: AnalyzeParameters
) -> xr.Dataset | None:
    """The result of an earlier run, where there is one that has ended.

    Raises
    ------
    ResultError
        It is of another video, model or of other parameters.
    """
    try:
        result = open_result(store)
    except ResultError:
        # None, or unfinished, or no result: what that means is for the analysis to say.
        return None
    wanted = {
        "source": source.path,
        "model_checksum": load_model(model).checksum,
        "parameters": result_parameters(parameters),
    }
    found = {
        "source": result.attrs.get("source"),
        "model_checksum": result.attrs.get("model_checksum"),
        "parameters": result_parameters(AnalyzeParameters(**json.loads(result.attrs["parameters"]))),
    }
    differing = [name.replace("_", " ") for name in wanted if wanted[name] != found[name]]
    if differing:
        raise ResultError(
            f"{store} holds a result with another {', '.join(differing)}; choose another folder or delete it."
        )
    return result


def _row(source: VideoSource, store: Path, result: xr.Dataset) -> BatchRow:
    row = BatchRow(
        source.path,
        str(store),
        frames=result.sizes["time"],
        left_out_frames=len(result.attrs.get("left_out_frames", [])),
        sites_y=result.sizes["y"],
        sites_x=result.sizes["x"],
        unit=str(result["y"].attrs.get("units", "px")),
    )
    if "change" not in result:
        return row
    columns = {name: result[f"hotspot_{name}"].values for name in ("y", "x", "area", "strength")}
    row = replace(row, hotspots=len(columns["y"]), changed_area=float(columns["area"].sum()))
    if row.hotspots == 0:
        return row
    strongest = {f"strongest_{name}": float(values[0]) for name, values in columns.items()}
    return replace(row, **strongest)  # type: ignore[arg-type]


def table_columns(rows: Sequence[BatchRow]) -> dict[str, np.ndarray]:
    """Columns of the table, a row a video; what is not known is empty."""
    told = [row.told() for row in rows]
    return {
        field.name.replace("_", " "): np.array([str(row.get(field.name, "")) for row in told])
        for field in fields(BatchRow)
    }
