"""The variables of a TensorFlow checkpoint, read as data.

A checkpoint is a table of entries (`variables.index`: blocks of sorted keys, as LevelDB writes them) and
data files that the entries point into (tensorflow/core/protobuf/tensor_bundle.proto).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ..errors import ModelFileError
from .protobuf import Message, read_varint

_FOOTER, _TRAILER, _MAGIC = 48, 5, 0xDB4775248B80FB57
_LARGEST_INDEX = 64 * 2**20
_MOST_SHARDS = 1000
# Numbers of tensorflow/core/framework/types.proto.
_DTYPES = {1: "<f4", 2: "<f8", 19: "<f2"}
_STRING = 7


def read_dims(shape: Message) -> tuple[int, ...]:
    """Sizes of a TensorShapeProto; -1 where one is not known."""
    return tuple(dim.integer(1) for dim in shape.messages(2))


def _masked_checksum(data: memoryview | bytes) -> int:
    """CRC-32C as TensorFlow stores it: turned by 15 bits and offset."""
    crc = int(google_crc32c.value(bytes(data)))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _block(table: memoryview, handle: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Keys and values of one block; a key is stored as what differs from the one before."""
    offset, after = read_varint(handle, 0)
    size, _ = read_varint(handle, after)
    block, trailer = table[offset : offset + size], table[offset + size : offset + size + _TRAILER]
    if len(block) < size or size < 4 or len(trailer) < _TRAILER:
        raise ValueError("a block is cut off")
    if trailer[0] != 0:
        raise ValueError("its index is compressed")
    if _masked_checksum(table[offset : offset + size + 1]) != struct.unpack("<I", trailer[1:])[0]:
        raise ValueError("the index's checksum is wrong")
    (restarts,) = struct.unpack("<I", block[-4:])
    end = size - 4 - 4 * restarts
    key, start = b"", 0
    while start < end:
        shared, start = read_varint(block, start)
        own, start = read_varint(block, start)
        length, start = read_varint(block, start)
        if shared > len(key) or start + own + length > end:
            raise ValueError("an entry is cut off")
        key = key[:shared] + bytes(block[start : start + own])
        start += own
        yield key, block[start : start + length]
        start += length


class TensorBundle:
    """Tensors of a checkpoint by name, each read when asked for.

    Parameters
    ----------
    prefix : Path
        Path of the checkpoint without `.index`.

    Raises
    ------
    ModelFileError
        A file is missing, damaged, or of a kind that is not read.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        index = prefix.with_name(prefix.name + ".index")
        try:
            if index.stat().st_size > _LARGEST_INDEX:
                raise ValueError("it is too large")
            table = memoryview(index.read_bytes())
            footer = table[-_FOOTER:]
            if len(footer) < _FOOTER or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
                raise ValueError("it is no index of a checkpoint")
            _, after = read_varint(footer, 0)
            _, after = read_varint(footer, after)
            self._entries = {
                str(key, "utf-8"): Message(value)
                for _, handle in _block(table, footer[after:])
                for key, value in _block(table, handle)
            }
            header = self._entries.pop("")
            self._shards = header.integer(1)
            if not 1 <= self._shards <= _MOST_SHARDS or header.integer(2) != 0:
                raise ValueError("it is of a machine of another byte order")
        except FileNotFoundError as error:
            raise ModelFileError(f"{index} is missing; copy the whole folder of the model.") from error
        except (OSError, ValueError, KeyError, struct.error) as error:
            raise ModelFileError(f"{index} is damaged ({error}); copy it again.") from error

    def _bytes(self, entry: Message, size: int) -> bytes:
        shard = entry.integer(3)
        path = self.prefix.with_name(f"{self.prefix.name}.data-{shard:05d}-of-{self._shards:05d}")
        try:
            with path.open("rb") as file:
                if (
                    size < 0
                    or entry.integer(5) != size
                    or not 0 <= entry.integer(4) <= path.stat().st_size - size
                ):
                    raise ModelFileError(f"{path} is shorter than its index says; copy it again.")
                file.seek(entry.integer(4))
                data = file.read(size)
        except FileNotFoundError as error:
            raise ModelFileError(
                f"{path} is missing: the folder holds no weights; copy the whole folder of the model."
            ) from error
        except OSError as error:
            raise ModelFileError(f"{path} cannot be read ({error.strerror or error}).") from error
        return data

    def _check(self, name: str, entry: Message, data: bytes) -> None:
        if _masked_checksum(data) != entry.fixed32(6):
            raise ModelFileError(
                f"The variables in {self.prefix.parent} are damaged (the checksum of {name} is wrong); "
                "copy them again."
            )

    def _entry(self, name: str) -> Message:
        if name not in self._entries:
            raise ModelFileError(f"{self.prefix}.index lacks the variable {name}; copy the folder again.")
        return self._entries[name]

    def text(self, name: str) -> bytes:
        """A text of a single element, as bytes."""
        entry = self._entry(name)
        data = memoryview(self._bytes(entry, entry.integer(5)))
        length, after = read_varint(data, 0)
        # Of the length, the checksum is taken as of four bytes; a checksum of its own stands behind it.
        self._check(name, entry, struct.pack("<I", length & 0xFFFFFFFF) + bytes(data[after:]))
        return bytes(data[after + 4 :])

    def tensor(self, name: str) -> NDArray[np.float64]:
        """A tensor of floats."""
        entry = self._entry(name)
        dims = read_dims(entry.message(2))
        if entry.integer(1) not in _DTYPES or entry.has(7) or min(dims, default=1) < 0:
            raise ModelFileError(f"The variable {name} of {self.prefix} is no plain array of floats.")
        dtype = np.dtype(_DTYPES[entry.integer(1)])
        data = self._bytes(entry, math.prod(dims) * dtype.itemsize)
        self._check(name, entry, data)
        return np.frombuffer(data, dtype).reshape(dims).astype(np.float64)
