"""How a video is cut for the walk: into bands of rows of sites, and these into columns where memory asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ..errors import ParameterError
from ..video.geometry import SiteGrid
from ..video.reading import CHUNK_BYTES
from .meaning.window_changes import MOMENTS
from .stretches import stretch_bytes

# Several bands let a map fill in while the rest is computed.
_MOST_BANDS = 6
_ROWS_OF_A_BAND = 33
# Read at once: so much; up to the second where the tile's latent field is as large; then an eighth of it.
_LEAST_CHUNK_BYTES, _SMALL_CHUNK_BYTES = 1 << 20, 1 << 22
# A stored chunk is this wide where a tile is wider: z(t) of a region then reads little more than the region.
STORED_COLUMNS = 64
# What is in memory at once, in float32 copies: of frames being read, prepared and read ahead; of a whole
# frame while its statistics are taken; and of all maps while significance is settled over all sites.
_COPIES_OF_A_CHUNK = 6
_COPIES_OF_A_FRAME = 8
_COPIES_OF_MAPS = 22
# While change is looked for, of each site.
_CHANGE_BYTES = 1300


@dataclass(frozen=True)
class Tile:
    """Sites that are walked through at once, over all frames: rows and columns [first, last) of sites."""

    first_row: int
    last_row: int
    first_column: int
    last_column: int

    @property
    def rows(self) -> slice:
        """Rows of sites."""
        return slice(self.first_row, self.last_row)

    @property
    def columns(self) -> slice:
        """Columns of sites."""
        return slice(self.first_column, self.last_column)

    @property
    def shape(self) -> tuple[int, int]:
        """Sites along y and x."""
        return self.last_row - self.first_row, self.last_column - self.first_column

    def every(self, distance: int) -> tuple[range, range]:
        """Rows and columns of every so many sites of the grid, counted from the tile's first."""
        rows, columns = (
            range(-first % distance, count, distance)
            for first, count in zip((self.first_row, self.first_column), self.shape, strict=True)
        )
        return rows, columns

    @property
    def edges(self) -> tuple[int, int, int, int]:
        """As a journal holds it."""
        return self.first_row, self.last_row, self.first_column, self.last_column


@dataclass(frozen=True)
class WalkSize:
    """What decides how much memory a walk needs.

    Parameters
    ----------
    grid : SiteGrid
    frames, latents : int
    copies : int
        Of a tile's latent field: two where some of it cannot be used and the rest is copied out.
    field_in_memory : bool
        z of all sites is kept in memory, and tiles are views of it.
    maps_in_memory : bool
        The maps of all sites are kept in memory while others are made.
    """

    grid: SiteGrid
    frames: int
    latents: int
    copies: int = 1
    field_in_memory: bool = False
    maps_in_memory: bool = False

    def tile_bytes(self, rows: int, columns: int) -> int:
        """Of the latent field of a tile."""
        return 4 * self.frames * self.latents * rows * columns

    def frames_at_once(self, rows: int, columns: int) -> int:
        """Frames that are read and prepared together; depends on the tile alone, as results must."""
        return max(1, min(self.frames, self._chunk_bytes(rows, columns) // self._band_bytes(rows, columns)))

    def need(self, rows: int, columns: int) -> int:
        """Bytes at the peak of a walk in tiles of so many sites."""
        sites = self.grid.shape[0] * self.grid.shape[1]
        maps = 4 * sites * self.latents
        # Not in whole frames, as `frames_at_once`: a smaller tile must never need more than a larger one.
        band = self._band_bytes(rows, columns)
        chunk = min(self.frames * band, max(band, self._chunk_bytes(rows, columns)))
        copies = self.copies - 1 if self.field_in_memory else self.copies
        held = self.tile_bytes(*self.grid.shape) if self.field_in_memory else 0
        # As much again: what networks and maps are made with, and what the C library keeps for each thread.
        walking = 2 * copies * self.tile_bytes(rows, columns) + _COPIES_OF_A_CHUNK * chunk
        # Mean frames of some moments, and their sums.
        walking += 2 * MOMENTS * band
        if self.maps_in_memory:
            walking += 5 * maps
        whole_frame = _COPIES_OF_A_FRAME * 4 * math.prod(self.grid.frame) + stretch_bytes(self.grid)
        return held + max(walking, whole_frame, _COPIES_OF_MAPS * maps, _CHANGE_BYTES * sites)

    def _chunk_bytes(self, rows: int, columns: int) -> int:
        """Most that is read at once, where that is a frame or more."""
        field = self.tile_bytes(rows, columns)
        return min(CHUNK_BYTES, max(_LEAST_CHUNK_BYTES, min(_SMALL_CHUNK_BYTES, field), field // 8))

    def _band_bytes(self, rows: int, columns: int) -> int:
        """Of what a tile of so many sites sees of one frame, enlarged."""
        grid = self.grid
        seen = math.prod((count - 1) * grid.step + grid.window for count in (rows, columns))
        # Before it is enlarged a band is smaller, before it is reduced larger.
        return math.ceil(4 * seen / min(1.0, grid.zoom) ** 2)


def plan_tiles(size: WalkSize, budget: int, workers: int = 1, rows_together: int = 1) -> list[Tile]:
    """Tiles that cover all sites once, the largest that fit into `budget` bytes.

    Neighbouring bands read and encode a window's height twice: few tall ones cost less.

    Parameters
    ----------
    size : WalkSize
    budget : int
        Bytes for one process.
    workers : int
        Processes that share the tiles: each gets as much to do, the larger tiles first.
    rows_together : int
        Rows, and columns, of sites that the encoder makes at once: of fewer it throws some away.

    Raises
    ------
    ParameterError
        Not even a tile of one site fits; the message says what does.
    """
    rows, columns = size.grid.shape
    least = size.need(1, 1)
    if least > budget:
        raise ParameterError(
            f"The memory of {budget / 1e9:.3g} GB is too small for {size.frames} frames of "
            f"{rows} × {columns} sites; give {in_gigabytes(least)} or more."
        )
    together = min(rows_together, rows)
    if workers > 1 and rows_together > 1:
        shared = _shared_tiles(size, budget, workers, together)
        if shared is not None:
            return shared
    bands = min(max(rows // _ROWS_OF_A_BAND, 2), _MOST_BANDS, math.ceil(rows / together))
    tall = _most(rows, lambda count: size.need(count, columns) <= budget)
    if tall < together:
        # Tiles as low as whole rows would have to be throw away more than narrow ones read twice.
        wide = _width(size, together, columns, budget)
        if wide > 0:
            return _grid_of_tiles(rows, columns, together, wide)
    if tall == 0:
        return _grid_of_tiles(rows, columns, 1, _width(size, 1, columns, budget))
    bands = max(bands, math.ceil(rows / tall))
    bands = min(rows, math.ceil(bands / workers) * workers)
    height = math.ceil(rows / bands)
    if workers == 1:
        height = _whole(height, min(rows, tall), rows_together)
    return _grid_of_tiles(rows, columns, height, columns)


def _shared_tiles(size: WalkSize, budget: int, workers: int, together: int) -> list[Tile] | None:
    """Bands of whole rows that the encoder makes at once, as many for each worker, and columns of the rest.

    The rest is small parts, for whoever is ahead. None where they do not fit.
    """
    rows, columns = size.grid.shape
    each, over = divmod(math.ceil(rows / together), workers)
    wide = math.ceil(columns / together / workers / 2) * together
    tall = _most(each, lambda count: size.need(count * together, columns) <= budget)
    if (each and not tall) or size.need(max(1, over) * together, wide) > budget:
        return None
    turns = min(max(1, each * together // _ROWS_OF_A_BAND), _MOST_BANDS // 2)
    turns = max(turns, math.ceil(each / max(1, tall)))
    heights = [together * ((each + turn) // turns) for turn in reversed(range(turns)) for _ in range(workers)]
    edges = [min(edge, rows) for edge in accumulate(heights, initial=0)]
    bands = [Tile(first, last, 0, columns) for first, last in pairwise(edges) if first < last]
    starts = range(0, columns, wide) if over else ()
    return bands + [Tile(edges[-1], rows, start, min(start + wide, columns)) for start in starts]


def _whole(height: int, most: int, rows_together: int) -> int:
    """The next multiple of `rows_together`, or the last one before `most`; `height` where there is none."""
    up = math.ceil(height / rows_together) * rows_together
    down = most - most % rows_together
    return up if up <= most else down or height


def _width(size: WalkSize, rows: int, columns: int, budget: int) -> int:
    """Columns of a tile of so many rows; whole stored chunks where it is wider than one."""
    wide = _most(columns, lambda count: size.need(rows, count) <= budget)
    return wide - wide % STORED_COLUMNS if wide > STORED_COLUMNS else wide


def _most(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest count up to `limit` that fits; 0 where none does. What fits does so for all below it."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _grid_of_tiles(rows: int, columns: int, tall: int, wide: int) -> list[Tile]:
    return [
        Tile(row, min(row + tall, rows), column, min(column + wide, columns))
        for row in range(0, rows, tall)
        for column in range(0, columns, wide)
    ]


def stored_sites(tiles: Sequence[Tile]) -> tuple[int, int]:
    """Rows and columns of sites of a stored chunk of a map: the most of which all tiles are whole ones."""
    rows = math.gcd(*(tile.first_row for tile in tiles))
    columns = math.gcd(*(tile.first_column for tile in tiles))
    return rows or max(tile.last_row for tile in tiles), columns or max(tile.last_column for tile in tiles)


def stored_field_columns(tiles: Sequence[Tile]) -> int:
    """Columns of sites of a stored chunk of z, some of those of a map's."""
    wide = stored_sites(tiles)[1]
    if not any(tile.first_column for tile in tiles):
        return min(wide, STORED_COLUMNS)
    return max(count for count in range(1, min(wide, STORED_COLUMNS) + 1) if wide % count == 0)


def in_gigabytes(size: int) -> str:
    """A size to be typed in: rounded up, so that it is enough."""
    places = 2 if size > 1e8 else 5
    return f"{math.ceil(size / 10 ** (9 - places)) / 10**places:g} GB"
