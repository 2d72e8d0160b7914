"""Protocol buffer messages read as data, without their schemas and without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

# A field of two bytes takes a hundred times that.
_MOST_FIELDS = 200_000
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_varint(data: memoryview, start: int) -> tuple[int, int]:
    """A number in groups of seven bits, lowest first; the number and where it ends."""
    number = shift = 0
    while True:
        if start >= len(data) or shift > 63:
            raise ValueError("a number does not end")
        byte = data[start]
        start += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, start
        shift += 7


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    start = 0
    while start < len(data):
        key, start = read_varint(data, start)
        kind = key & 7
        if kind == _VARINT:
            value, start = read_varint(data, start)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, start = read_varint(data, start)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("a field of unknown kind")
        if size > len(data) - start:
            raise ValueError("a field is cut off")
        yield key >> 3, data[start : start + size]
        start += size


class Message:
    """One message: its fields by number, each read as the kind that the caller expects.

    Parameters
    ----------
    data : bytes or memoryview
        Not copied; of at most 200,000 fields.

    Raises
    ------
    ValueError
        Of every method too: the bytes are no such message.
    """

    def __init__(self, data: bytes | memoryview = b"") -> None:
        self._values: dict[int, list[int | memoryview]] = {}
        for count, (number, value) in enumerate(_fields(memoryview(data))):
            if count == _MOST_FIELDS:
                raise ValueError("a message of too many fields")
            self._values.setdefault(number, []).append(value)

    def has(self, number: int) -> bool:
        """Whether the field is there."""
        return number in self._values

    def raw(self, number: int) -> list[memoryview]:
        """The bytes of a repeated field."""
        values = self._values.get(number, [])
        if not all(isinstance(value, memoryview) for value in values):
            raise ValueError("a field of another kind than expected")
        return [value for value in values if isinstance(value, memoryview)]

    def messages(self, number: int) -> list[Message]:
        """A repeated message."""
        return [Message(value) for value in self.raw(number)]

    def message(self, number: int) -> Message:
        """A message; an empty one where it is absent."""
        return Message(self.raw(number)[-1]) if self.has(number) else Message()

    def integers(self, number: int) -> list[int]:
        """A repeated signed integer, packed or not."""
        found: list[int] = []
        for value in self._values.get(number, []):
            if isinstance(value, int):
                found.append(value)
                continue
            start = 0
            while start < len(value):
                one, start = read_varint(value, start)
                found.append(one)
        return [value - 2**64 if value >= 2**63 else value for value in found]

    def integer(self, number: int) -> int:
        """An integer; 0 where it is absent."""
        return (self.integers(number) or [0])[-1]

    def texts(self, number: int) -> list[str]:
        """A repeated text."""
        return [str(value, "utf-8") for value in self.raw(number)]

    def text(self, number: int) -> str:
        """A text; an empty one where it is absent."""
        return (self.texts(number) or [""])[-1]

    def float32(self, number: int) -> float:
        """A float of four bytes; 0 where it is absent."""
        return float(self._unpacked("<f", number))

    def fixed32(self, number: int) -> int:
        """An unsigned integer of four bytes; 0 where it is absent."""
        return int(self._unpacked("<I", number))

    def _unpacked(self, kind: str, number: int) -> Any:
        values = self.raw(number)
        if not values:
            return 0
        if len(values[-1]) != struct.calcsize(kind):
            raise ValueError("a field of another size than expected")
        return struct.unpack(kind, values[-1])[0]

    def mapping(self, number: int) -> dict[str, Message]:
        """A map from text to message."""
        return {entry.text(1): entry.message(2) for entry in self.messages(number)}
