"""Structure files of others, through the extra `ase`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np

from ..errors import ParameterError
from ..io.memory import memory_budget
from .atoms import Atoms, Cluster, in_box
from .structures import check_count

# Plain text that names its atoms one by one. Others that ase knows may unpickle, run or connect.
_FORMATS = {
    "cif": "CIF",
    "xyz": "XYZ",
    "extxyz": "extended XYZ",
    "prismatic": "Prismatic XYZ",
    "proteindatabank": "PDB",
    "vasp": "POSCAR",
    "xsf": "XSF",
    "res": "SHELX",
    "mol": "MOL",
}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
# Lines that announce how many atoms follow.
_COUNT_LINES = {"xyz": slice(1), "extxyz": slice(1), "vasp": slice(5, 7)}
# What a reader holds for a byte of text.
_BYTES_PER_BYTE = 50
_BEFORE_AND_BEHIND_NM = 0.1


def read_structure(
    path: str | Path, *, repeat: tuple[int, int, int] = (1, 1, 1), margin_nm: float = 1.0
) -> Atoms:
    """Atoms of a structure file, with vacuum around them.

    Parameters
    ----------
    path : path
        CIF, XYZ, PDB, POSCAR, XSF, SHELX or MOL; the beam goes along its z. Of several frames, the first.
    repeat : tuple of int
        Cells along each cell vector, for a file that holds one cell of a crystal.
    margin_nm : float
        Vacuum on each side along x and y.

    Returns
    -------
    Atoms

    Raises
    ------
    ParameterError
        The extra `ase` is not installed; the file is absent, too large, of another format or damaged; it
        holds no atoms or elements that are not known; repeats of what has no cell.
    """
    file = Path(path)
    cells = np.asarray(repeat)
    if cells.shape != (3,) or not np.issubdtype(cells.dtype, np.integer) or (cells < 1).any():
        raise ParameterError(f"repeat is {repeat!r}; give three whole numbers, 1 or more.")
    if not 0 <= margin_nm <= 1000:
        raise ParameterError(f"margin_nm is {margin_nm!r}; give 0 to 1000 nm.")
    _check_file(file)
    cluster = _read(file, tuple(int(count) for count in cells))
    if len(cluster.symbols) == 0:
        raise ParameterError(f"{file} holds no atoms; give another file.")
    corner, end = cluster.positions_nm.min(0), cluster.positions_nm.max(0)
    around = np.array([margin_nm, margin_nm, _BEFORE_AND_BEHIND_NM])
    # A promille of an Ångström: atoms of one plane have a box too.
    box = np.maximum(end - corner + 2 * around, 1e-4)
    try:
        return in_box([cluster.moved(around - corner)], (float(box[0]), float(box[1]), float(box[2])))
    except ParameterError as error:
        raise ParameterError(f"{file} cannot be simulated: {error}") from error


def _check_file(file: Path) -> None:
    try:
        size = file.stat().st_size if file.is_file() else None
    except OSError:
        size = None
    if size is None:
        raise ParameterError(f"There is no file {file}; give a structure file.")
    if file.suffix.lower() in _COMPRESSED:
        raise ParameterError(f"{file} is compressed; unpack it and give the file that was in it.")
    most = 2 * memory_budget() // _BYTES_PER_BYTE
    if size > most:
        raise ParameterError(
            f"{file} has {size / 1e6:.0f} MB, and half of the free memory reads {most / 1e6:.0f} MB; "
            "give a smaller structure."
        )


def _read(file: Path, repeat: tuple[int, ...]) -> Cluster:
    try:
        reading, formats = import_module("ase.io"), import_module("ase.io.formats")
    except ImportError as error:
        raise ParameterError(
            f"{file} needs the extra ase to be read; install it: pip install 'napari-hrtem-vae[ase]'."
        ) from error
    try:
        name = formats.filetype(str(file))
    except Exception as error:
        raise ParameterError(f"{file} is no structure file that is known here ({error}).") from error
    if name not in _FORMATS:
        raise ParameterError(
            f"{file} looks like {name}; give one of {', '.join(dict.fromkeys(_FORMATS.values()))}."
        )
    _check_announced(file, _COUNT_LINES.get(name, slice(0)))
    try:
        found = reading.read(str(file), index=0, format=name)
    except Exception as error:  # whatever a damaged file makes its reader raise
        reason = str(error) or type(error).__name__
        raise ParameterError(f"{file} cannot be read as {_FORMATS[name]}: {reason}.") from error
    cells = int(np.prod(repeat, dtype=np.int64))
    if cells > 1:
        if not np.all(np.asarray(found.cell).any(1)):
            raise ParameterError(f"{file} has no cell that could be repeated; leave repeat out.")
        check_count(float(cells) * len(found))
        found = found.repeat(repeat)
    positions = np.asarray(found.get_positions(), np.float64) / 10
    if not np.isfinite(positions).all():
        raise ParameterError(f"{file} has positions that are no numbers; mend or leave out those atoms.")
    return Cluster(positions, np.array(found.get_chemical_symbols(), np.str_))


def _check_announced(file: Path, lines: slice) -> None:
    """Refuse more atoms than a file can hold: readers take memory and time by the number it announces."""
    with file.open(errors="replace") as text:
        head = [text.readline(10_000) for _ in range(7)]
    for line in head[lines]:
        counts = sum(int(word) for word in line.split() if word.isdecimal() and word.isascii())
        if counts > file.stat().st_size:
            raise ParameterError(f"{file} announces {counts} atoms, more than its size can hold; mend it.")
