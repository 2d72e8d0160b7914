"""A run that ends early goes on with the same bytes, whatever ended it; what does not fit is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import ResultError
from napari_hrtem_vae.progress import Progress, run
from napari_hrtem_vae.vae.analysis import analyze_steps
from napari_hrtem_vae.vae.model import Model
from napari_hrtem_vae.vae.parameters import AnalyzeParameters

from ..conftest import random_model, video_of

# Twelve rows of four sites over several tiles.
MEMORY_GB = 0.0078


def video() -> xr.DataArray:
    counts = np.random.default_rng(5).poisson(6, (120, 64 + 11 * 8, 88))
    counts[60:, 30:60, 30:60] += 8
    return video_of(counts.astype(np.uint16))


def parameters(**options: object) -> AnalyzeParameters:
    return AnalyzeParameters(memory_gb=MEMORY_GB, **options)  # type: ignore[arg-type]


def steps_into(store: Path, model: Model, **options: object) -> Iterator[Progress]:
    return analyze_steps(video(), model, parameters(**options), store=store)


def contents(store: Path) -> dict[str, bytes]:
    """Bytes of all chunks."""
    return {
        str(file.relative_to(store)): file.read_bytes() for file in store.rglob("c/**/*") if file.is_file()
    }


def until_tiles(steps: Iterator[Progress], tiles: int) -> None:
    """Go on until so many tiles are done."""
    while tiles:
        tiles -= next(steps).finished is not None


@pytest.fixture(scope="module")
def model() -> Model:
    return random_model()


@pytest.fixture(scope="module")
def peace(tmp_path_factory, model: Model) -> Path:
    """The store of a run that nothing disturbed."""
    store = tmp_path_factory.mktemp("peace") / "r.zarr"
    run(steps_into(store, model))
    return store


@contextmanager
def full_disk() -> Iterator[None]:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


CHILD = """
import sys
from pathlib import Path
from tests.conftest import random_model
from tests.vae.test_resume import steps_into
for _ in steps_into(Path(sys.argv[1]), random_model()):
    print(flush=True)
"""


def test_killed_at_random_moments_it_goes_on_to_the_same_bytes(tmp_path, model, peace) -> None:
    store = tmp_path / "r.zarr"
    whole = sum(1 for _ in steps_into(tmp_path / "counted.zarr", model))
    root = Path(__file__).parents[2]
    for moment in np.random.default_rng(0).uniform(0.2, 0.8, 2) * whole:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(store)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=root,
        )
        assert child.stdout is not None
        for _ in range(int(moment)):
            if not child.stdout.readline():
                break
        child.send_signal(signal.SIGKILL)
        child.communicate()
    if store.with_name(".r.zarr.journal").exists() or not store.exists():
        run(steps_into(store, model))
    assert contents(store) == contents(peace)
    assert {entry.name for entry in tmp_path.iterdir()} == {"r.zarr", "counted.zarr"}


def test_full_disk_keeps_what_is_done_says_what_is_needed_and_goes_on(tmp_path, model, peace) -> None:
    tiles = sum(one.finished is not None for one in steps_into(tmp_path / "counted.zarr", model))
    assert tiles > 2
    store = tmp_path / "r.zarr"
    steps = steps_into(store, model)
    until_tiles(steps, 1)
    with full_disk(), pytest.raises(ResultError, match=r"may need [\d.]+ MB more; what is finished is kept"):
        run(steps)
    resumed = list(steps_into(store, model))
    assert sum(one.finished is not None for one in resumed) == tiles - 1
    assert contents(store) == contents(peace)


def test_full_disk_at_the_very_end_is_gone_on_with(tmp_path, model, peace) -> None:
    store = tmp_path / "r.zarr"
    steps = steps_into(store, model)
    until_tiles(steps, 3)
    with full_disk(), pytest.raises(ResultError, match="what is finished is kept"):
        run(steps)
    with pytest.raises(ResultError, match="has not ended"):
        hv.open_result(store)
    run(steps_into(store, model))
    assert contents(store) == contents(peace)


def begun(store: Path, model: Model) -> None:
    steps = steps_into(store, model)
    until_tiles(steps, 1)
    steps.close()  # type: ignore[attr-defined]


def test_finished_part_that_was_deleted_is_told(tmp_path, model) -> None:
    store = tmp_path / "r.zarr"
    begun(store, model)
    chunk = next(file for file in sorted((store / "variance" / "c").rglob("*")) if file.is_file())
    chunk.unlink()
    with pytest.raises(ResultError, match=r"damaged \(variance.c.* is missing\)"):
        run(steps_into(store, model))


def test_finished_part_that_was_spoiled_is_told(tmp_path, model) -> None:
    store = tmp_path / "r.zarr"
    begun(store, model)
    chunk = next(file for file in sorted((store / "variance" / "c").rglob("*")) if file.is_file())
    spoiled = bytearray(chunk.read_bytes())
    spoiled[len(spoiled) // 2] ^= 1
    chunk.write_bytes(spoiled)
    with pytest.raises(ResultError, match="damaged"):
        run(steps_into(store, model))


def test_array_that_is_gone_and_a_spoiled_journal_are_told(tmp_path, model) -> None:
    store = tmp_path / "r.zarr"
    begun(store, model)
    (store / "z" / "zarr.json").unlink()
    with pytest.raises(ResultError, match="its z is missing or damaged"):
        run(steps_into(store, model))
    store.with_name(".r.zarr.journal").write_text("{")
    with pytest.raises(ResultError, match=r"journal .* is damaged; delete it"):
        run(steps_into(store, model))


def test_what_differs_is_named(tmp_path, model) -> None:
    store = tmp_path / "r.zarr"
    begun(store, model)
    with pytest.raises(ResultError, match="another model;"):
        run(steps_into(store, Model(model.card, model.network, checksum="another")))
    with pytest.raises(ResultError, match="another parameters;"):
        run(steps_into(store, model, field_type="float16"))
    journal = store.with_name(".r.zarr.journal")
    entries = json.loads(journal.read_text())
    entries["provenance"]["version"] = "0.0.1"
    journal.write_text(json.dumps(entries))
    with pytest.raises(ResultError, match="another version;"):
        run(steps_into(store, model))


def test_less_memory_than_a_run_was_begun_with_is_told(tmp_path, model) -> None:
    store = tmp_path / "r.zarr"
    begun(store, model)
    with pytest.raises(ResultError, match=r"begun with more memory; give [\d.]+ GB"):
        run(analyze_steps(video(), model, AnalyzeParameters(memory_gb=0.0069), store=store))


def test_size_is_told_in_advance_and_a_disk_too_small_is_refused(tmp_path, model, monkeypatch) -> None:
    messages = [one.message for one in steps_into(tmp_path / "r.zarr", model)]
    told = [message for message in messages if message.startswith("The result takes up to")]
    assert len(told) == 1
    assert messages.index(told[0]) < messages.index("Encoding")
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 1000))
    with pytest.raises(ResultError, match=r"takes up to [\d.]+ MB, and .* has 0\.0 MB; free space"):
        run(steps_into(tmp_path / "small.zarr", model))
    assert os.listdir(tmp_path) == ["r.zarr"]


def test_field_in_float16_takes_half_and_changes_no_map(tmp_path, model, peace) -> None:
    store = tmp_path / "r.zarr"
    run(steps_into(store, model, field_type="float16"))
    whole, half = hv.open_result(peace), hv.open_result(store)
    assert half["z"].dtype == np.float16
    np.testing.assert_allclose(half["z"], whole["z"], rtol=1e-3, atol=1e-6)
    for name in set(whole.data_vars) - {"z"}:
        np.testing.assert_array_equal(half[name], whole[name], err_msg=str(name))
