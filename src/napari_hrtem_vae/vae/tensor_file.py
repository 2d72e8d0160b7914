"""Files of tensors: written aside and renamed, so that a crash leaves the old or the new."""

from __future__ import annotations

import os
from pathlib import Path

import safetensors
from safetensors.torch import save
from torch import Tensor

# What goes wrong when such a file is written.
WRITE_ERRORS = (OSError, safetensors.SafetensorError)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file; what is half written does not stay.

    Raises
    ------
    OSError, SafetensorError
        It cannot be written.
    """
    aside = path.with_name(f".{path.name}.part")
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    try:
        # Not by safetensors itself, whose files others may not read.
        aside.write_bytes(save(contiguous, metadata))
        os.replace(aside, path)
    except WRITE_ERRORS:
        aside.unlink(missing_ok=True)
        raise
