"""Movies (mp4, avi, mov, mkv …): frames decoded when asked for, in grey levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VideoFileError
from .candidates import Candidate
from .frames import LazyFrames, as_dask, reason


class MovieFrames(LazyFrames):
    """Frames of a movie in the order of their presentation.

    Parameters
    ----------
    path, shape, dtype
        As of `LazyFrames`; uint8, or uint16 where the codec has more bits.
    stamps : numpy.ndarray
        (time,) int64, presentation time of each frame in the units of the stream, increasing.
    seekable : bool
        Stamps were in the file; else frames are counted from the first.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        stamps: np.ndarray,
        seekable: bool,
    ) -> None:
        super().__init__(path, shape, dtype)
        self.stamps, self.seekable = stamps, seekable

    def read(self, numbers: range, rows: slice) -> np.ndarray:
        """See `LazyFrames.read`."""
        import av

        out = np.empty((len(numbers), *self.shape[1:]), self.dtype)[:, rows]
        if not len(numbers):
            return out
        wanted = {number: i for i, number in enumerate(numbers)}
        place = {int(stamp): number for number, stamp in enumerate(self.stamps)}
        # A seek may land behind the frame (open groups of pictures): then one begins further ahead.
        for back in (0, 25, 250, self.shape[0]):
            start = max(0, numbers[0] - back)
            with av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                if self.seekable and start > 0:
                    container.seek(int(self.stamps[start]), stream=stream, backward=True, any_frame=False)
                missing = dict(wanted)
                for count, frame in enumerate(container.decode(stream)):
                    stamp = frame.pts if frame.pts is not None else frame.dts
                    number = place.get(int(stamp), -1) if self.seekable and stamp is not None else count
                    if number in missing:
                        out[missing.pop(number)] = grey(frame)[rows]
                    if not missing:
                        return out
                    if number > numbers[-1] + 64:
                        break
            if start == 0:
                break
        raise VideoFileError(
            f"{self.path} has a frame that cannot be decoded (number {min(missing)}); copy the file again."
        )


def grey(frame: Any) -> np.ndarray:
    """The grey levels of a decoded frame, (y, x) uint8 or uint16: luma as stored where the codec has luma."""
    name: str = frame.format.name
    if name.startswith(("yuv", "gray", "nv12", "nv21")) and frame.format.components[0].plane == 0:
        bits = frame.format.components[0].bits
        plane = frame.planes[0]
        packed = name.startswith("yuyv")
        if not packed and (bits == 8 or name.endswith("le")):
            dtype = np.dtype(np.uint8 if bits == 8 else "<u2")
            rows = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)
            return rows[: frame.height, : frame.width].astype(dtype.newbyteorder("="), copy=False)
    deep = max(component.bits for component in frame.format.components) > 8
    return np.asarray(frame.to_ndarray(format="gray16le" if deep else "gray"))


def movie_candidates(path: Path) -> list[Candidate]:
    """The first video stream of a movie.

    Frames are counted by their packets, which are read but not decoded.

    Raises
    ------
    VideoFileError
        Not a movie, cut short, or without frames.
    """
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoFileError(f"{path} has no moving picture; choose a file with a video stream.")
            stream = container.streams.video[0]
            first = next(iter(container.decode(stream)), None)
            if first is None:
                raise VideoFileError(f"{path} has no frames; record it again.")
            promised, rate, base = stream.frames, stream.average_rate, stream.time_base
            container.seek(0)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            packets = [
                (packet.pts, packet.dts)
                for packet in container.demux(stream)
                if packet.size and not packet.is_discard and not packet.is_corrupt
            ]
    except VideoFileError:
        raise
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoFileError(
            f"{path} cannot be read as a movie ({reason(error)}); it is damaged, cut short or something else."
        ) from error
    if promised > len(packets):
        raise VideoFileError(
            f"{path} is cut short: its header promises {promised} frames and the file has {len(packets)}; "
            f"copy it again."
        )
    seekable = all(pts is not None for pts, _ in packets) and len({pts for pts, _ in packets}) == len(packets)
    stamps = np.sort(
        np.array([pts for pts, _ in packets] if seekable else range(len(packets)), dtype=np.int64)
    )
    image = grey(first)
    source = MovieFrames(path, (len(packets), *image.shape), image.dtype, stamps, seekable)
    candidate = Candidate(path.stem, as_dask(source))
    if _in_colour(first):
        candidate.notices.append(f"{path.name} is in colour; its brightness was taken as grey level.")
    if rate:
        candidate.frame_time_s = float(1 / rate)
        candidate.notices.append(
            f"The frame time of {path.name}, {float(1 / rate):.4g} s, is the rate at which it plays; give "
            f"frame_time_s where it was recorded at another."
        )
        if seekable and base and len(stamps) > 1:
            numbers = (stamps - stamps[0]) * float(base * rate)
            # Stamps are rounded to the time base; more than half a frame off is an uneven movie.
            if np.abs(numbers - np.arange(len(numbers))).max() > 0.5:
                candidate.frame_numbers = numbers
    return [candidate]


def _in_colour(frame: Any) -> bool:
    if frame.format.name.startswith("gray"):
        return False
    colours = frame.to_ndarray(format="rgb24").astype(np.int16)
    # Lossy codecs leave a few levels of colour in a grey movie.
    return bool(np.ptp(colours, axis=-1).mean() > 4)
