"""What the C library does with memory that arrays leave behind."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# As dask starts its workers; without huge pages, which are had only while the machine has some.
DASK = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536", "NUMPY_MADVISE_HUGEPAGE": "0"}
COUNTED = """
import resource, sys
import numpy as np
from napari_hrtem_vae.io.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
np.ones(16_000_000, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(16_000_000, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_cleared(how: str) -> int:
    """Pages that the system clears anew for twenty arrays, one after the other, after a first one."""
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, how], env=DASK, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting is of glibc, on Linux")
def test_memory_of_an_array_serves_the_next_in_a_worker_too() -> None:
    given_back = pages_cleared("given back")
    if given_back < 20 * 100:
        pytest.skip("this C library keeps memory by itself, or all pages are huge")
    assert pages_cleared("kept") < given_back / 10
