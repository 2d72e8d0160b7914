"""Which reader a file goes to, and which files may be videos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import VideoFileError
from .candidates import Candidate
from .frames import reason
from .movie import movie_candidates
from .plain import hdf5_candidates, is_hyperspy, npy_candidates, still_candidates
from .results_probe import is_result_store, is_zarr
from .ser import emi_candidates, ser_candidates
from .stores import zarr_candidates
from .tiff import tiff_candidates
from .vendor import vendor_candidates

MOVIES = ("mp4", "avi", "mov", "mkv", "webm", "m4v", "mpg", "mpeg", "wmv", "gif")
STILLS = ("png", "jpg", "jpeg", "bmp")
# Those of rosettasciio's formats that hold images; its readers for spectra and tables are no use here.
VENDOR = (
    "dm3", "dm4", "emd", "de5", "mrc", "mrcs", "mrcz", "ali", "tvips", "mib", "hspy", "zspy", "blo", "unf",
    "rpl", "nxs", "nc", "prz", "bcf", "img", "asw", "map", "app5", "xml",
)  # fmt: skip
# What one frame of a series is saved as.
FRAME_SUFFIXES = (
    "tif",
    "tiff",
    "dm3",
    "dm4",
    "png",
    "jpg",
    "jpeg",
    "bmp",
    "mrc",
    "emd",
    "ser",
    "npy",
    "hspy",
)


def suffix_of(path: Path) -> str:
    """The suffix in lower case, without its dot."""
    return path.suffix.lower().lstrip(".")


def _hdf5(path: Path) -> list[Candidate]:
    return vendor_candidates(path) if is_hyperspy(path) else hdf5_candidates(path)


def _readers() -> dict[str, Callable[[Path], list[Candidate]]]:
    readers: dict[str, Callable[[Path], list[Candidate]]] = dict.fromkeys(VENDOR, vendor_candidates)
    readers |= dict.fromkeys(MOVIES, movie_candidates) | dict.fromkeys(STILLS, still_candidates)
    readers |= {"tif": tiff_candidates, "tiff": tiff_candidates, "npy": npy_candidates}
    readers |= {"ser": ser_candidates, "emi": emi_candidates, "h5": _hdf5, "hdf5": _hdf5}
    return readers


def supported_suffixes() -> tuple[str, ...]:
    """Every suffix of a file that `open_video` reads, in lower case, without dots, sorted."""
    return tuple(sorted((*_readers(), "zarr")))


def candidates_of(path: Path) -> list[Candidate]:
    """Every dataset of one file, or of a zarr store.

    Raises
    ------
    VideoFileError
        The file is missing, empty, damaged, or of a kind that is not read.
    """
    suffix = suffix_of(path)
    if not path.exists():
        raise VideoFileError(f"{path} does not exist; check its name and folder.")
    if path.is_dir() and suffix != "zspy":
        return zarr_candidates(path)
    reader = _readers().get(suffix)
    if reader is None:
        known = ", ".join(supported_suffixes())
        kind = f".{suffix} files are" if suffix else "a file without suffix is"
        raise VideoFileError(f"{path} is no video: {kind} not read; read are {known}.")
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise VideoFileError(f"{path} is empty (0 bytes); copy it again.")
        return reader(path)
    except OSError as error:
        raise VideoFileError(
            f"{path} cannot be read ({reason(error)}); check that you may open it."
        ) from error


def is_video_path(path: str | Path) -> bool:
    """Whether `path` looks like a video: by its suffix, or a folder of frames or a zarr store.

    Reads no more than the names in a folder. Result stores of this project are no videos.
    """
    from .folder import holds_frames

    path = Path(path)
    if path.is_dir():
        if suffix_of(path) == "zspy":
            return True
        return not is_result_store(path) if is_zarr(path) else holds_frames(path)
    return suffix_of(path) in _readers()
