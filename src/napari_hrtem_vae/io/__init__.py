"""Files in and out: videos of any format, maps as TIFF, tables as CSV."""

from __future__ import annotations

from .export import save_map_tiff, save_table_csv
from .files import is_video_path
from .open import frame_time_s, open_video, pixel_size_nm
from .results_probe import is_result_store

__all__ = [
    "frame_time_s",
    "is_result_store",
    "is_video_path",
    "open_video",
    "pixel_size_nm",
    "save_map_tiff",
    "save_table_csv",
]
