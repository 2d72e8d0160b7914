"""npy files, generic HDF5 files and stills of picture formats."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VideoFileError
from .candidates import Candidate
from .frames import as_dask, check_size, plain_array, reason


def npy_candidates(path: Path) -> list[Candidate]:
    """The array of an npy file, memory-mapped; a pickled one is refused and never loaded."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read(file)
            offset = file.tell()
    except (ValueError, EOFError, OSError) as error:
        raise VideoFileError(f"{path} is no npy file ({reason(error)}); save it with numpy.save.") from error
    if dtype.hasobject:
        raise VideoFileError(
            f"{path} holds pickled objects, which are never loaded; save plain numbers with numpy.save."
        )
    if math.prod(shape) > 0:
        check_size(path, offset + math.prod(shape) * dtype.itemsize)
        source: Any = plain_array(path, shape, dtype, offset, "F" if fortran else "C")
    else:
        source = np.empty(shape, dtype)
    return [Candidate(path.stem, as_dask(source))]


class Hdf5Array:
    """One dataset of an HDF5 file, opened at each access."""

    def __init__(self, path: Path, dataset: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path, self.dataset, self.shape, self.dtype = path, dataset, shape, dtype
        self.ndim = len(shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        import h5py

        try:
            with h5py.File(self.path, "r") as file:
                box = tuple(_span(one, size) for one, size in zip(key, self.shape, strict=True))
                block = np.asarray(file[self.dataset][box]).astype(self.dtype, copy=False)
            for axis in reversed(range(self.ndim)):  # from the last, as a single number drops its axis
                block = block[(slice(None),) * axis + (_within(key[axis], self.shape[axis]),)]
            return block
        except (OSError, KeyError) as error:
            raise VideoFileError(
                f"{self.path} cannot be read ({reason(error)}); copy the file again."
            ) from error


def _span(key: Any, size: int) -> slice:
    """The range that covers a key, which HDF5 reads in one go where lists of numbers take minutes."""
    picked = np.atleast_1d(np.arange(size)[key])
    return slice(int(picked.min()), int(picked.max()) + 1) if len(picked) else slice(0, 0)


def _within(key: Any, size: int) -> Any:
    """The key inside its span."""
    picked = np.arange(size)[key]
    return picked - picked.min() if picked.size else slice(None)


def hdf5_candidates(path: Path) -> list[Candidate]:
    """Every dataset of 2 to 5 dims of an HDF5 file, named by its place in the file."""
    import h5py

    found: list[Candidate] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and 2 <= item.ndim <= 5 and item.dtype.kind in "buifcV":
            dtype = item.dtype if item.dtype.names else item.dtype.newbyteorder("=")
            stored_together = item.chunks[-3] if item.chunks and item.ndim > 2 else 1
            found.append(
                Candidate(
                    name, as_dask(Hdf5Array(path, name, item.shape, dtype), multiple_of=stored_together)
                )
            )

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except OSError as error:
        raise VideoFileError(
            f"{path} cannot be read as HDF5 ({reason(error)}); it is damaged, cut short or no HDF5 file."
        ) from error
    if not found:
        raise VideoFileError(f"{path} holds no images; choose a file with an image series.")
    return found


def is_hyperspy(path: Path) -> bool:
    """Whether an HDF5 file was written by HyperSpy."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            kind = file.attrs.get("file_format", "")
    except OSError:
        return False
    return (kind.decode() if isinstance(kind, bytes) else str(kind)).lower() == "hyperspy"


def still_candidates(path: Path) -> list[Candidate]:
    """The picture of a png, jpg or bmp file; colour is refused unless its channels are equal."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            mode, size = image.mode, image.size
            pixels = np.asarray(image.convert("RGB") if mode == "P" else image)
    except Exception as error:
        raise VideoFileError(
            f"{path} cannot be read as a picture ({reason(error)}); it is damaged or cut short."
        ) from error
    notices = []
    if pixels.ndim == 3:
        channels = pixels[..., : 1 if mode == "LA" else 3]
        if not (channels == channels[..., :1]).all():
            raise VideoFileError(
                f"{path} is in colour ({mode}, {size[0]} × {size[1]}); save it in grey levels."
            )
        pixels = channels[..., 0]
        notices.append(f"The colour channels of {path.name} are equal; one was taken.")
    return [Candidate(path.stem, as_dask(np.ascontiguousarray(pixels)), notices=notices)]
