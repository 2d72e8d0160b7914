"""Workers: the same result as without, a lost one's work done again, and clusters that are not there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import CancelledError, ClusterError, ParameterError, VideoFileError
from napari_hrtem_vae.io.source import VideoSource
from napari_hrtem_vae.progress import Progress, Steps, run
from napari_hrtem_vae.vae.analysis import analyze_shared_steps, analyze_steps
from napari_hrtem_vae.vae.model import save_model
from napari_hrtem_vae.vae.parameters import AnalyzeParameters

from ..conftest import random_model

distributed = pytest.importorskip("distributed")
from napari_hrtem_vae.vae.cluster import DaskCrew  # noqa: E402
from napari_hrtem_vae.vae.crew import Busy  # noqa: E402

PARAMETERS = AnalyzeParameters()


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=None
    ) as local:
        yield local


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[VideoSource, str]:
    """A video of 24 rows of sites, and a model."""
    folder = tmp_path_factory.mktemp("files")
    np.save(folder / "v.npy", np.random.default_rng(2).poisson(9, (12, 64 + 23 * 8, 88)).astype(np.uint16))
    model = save_model(random_model(), folder / "m.safetensors")
    return VideoSource(str(folder / "v.npy"), pixel_size_nm=0.014), str(model)


def contents(store: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(store)): file.read_bytes() for file in store.rglob("c/**/*") if file.is_file()
    }


def test_workers_make_what_one_process_makes_and_a_lost_one_changes_no_byte(cluster, files, tmp_path) -> None:
    source, model = files
    address = cluster.scheduler_address
    whole = run(analyze_shared_steps(source, model, PARAMETERS, tmp_path / "whole.zarr", cluster=address))
    alone = hv.analyze(source.open(), model)
    for name in ("z", "variance", "spearman"):
        np.testing.assert_allclose(whole[name], alone[name], atol=1e-4, err_msg=name)
    victims = [nanny.pid for nanny in cluster.workers.values()][:1]

    def kill(progress) -> None:
        # While the other tiles wait or are being worked on.
        if progress.finished is not None and victims:
            os.kill(victims.pop(), signal.SIGKILL)

    steps = analyze_shared_steps(source, model, PARAMETERS, tmp_path / "lost.zarr", cluster=address)
    tiles = []
    run(steps, on_progress=lambda progress: (tiles.append(progress.finished), kill(progress)))
    assert not victims
    rows = np.concatenate([tile["y"].values for tile in tiles if tile is not None])
    np.testing.assert_array_equal(np.sort(rows), whole["y"])
    assert contents(tmp_path / "lost.zarr") == contents(tmp_path / "whole.zarr")


@pytest.mark.parametrize("spoiled", [[], [7, 20]])
def test_workers_see_and_read_the_changes_that_one_process_does(cluster, tmp_path, spoiled) -> None:
    y, x = np.mgrid[:208, :208] - 104.0
    angles = np.deg2rad(10 + np.linspace(0, 6, 24)[:, None, None] * (np.hypot(y, x) < 32))
    along, across = np.cos(angles) * x + np.sin(angles) * y, np.cos(angles) * y - np.sin(angles) * x
    wave = 1 + 0.2 * (np.cos(2 * np.pi * along / 21) + np.cos(2 * np.pi * across / 21))
    video = np.random.default_rng(5).poisson(40 * wave).astype(np.float32)
    video[spoiled] = np.nan
    np.save(tmp_path / "v.npy", video)
    source = VideoSource(str(tmp_path / "v.npy"), pixel_size_nm=0.014)
    address, store = cluster.scheduler_address, tmp_path / "r.zarr"
    shared = run(analyze_shared_steps(source, "pbs-64-fast", PARAMETERS, store, cluster=address))
    alone = hv.analyze(source.open(), "pbs-64-fast")
    changed = alone["kind"] != 0
    assert 0.1 < changed.mean() < 0.9
    np.testing.assert_allclose(shared["change"], alone["change"], atol=0.05)
    assert (shared["kind"] == alone["kind"]).mean() > 0.98
    both = (changed & (shared["kind"] != 0)).values
    probabilities = (each["kind_probability"].values[:, both] for each in (shared, alone))
    np.testing.assert_allclose(*probabilities, atol=0.02)


class SlowJob:
    """Parts of which each takes as many seconds as it says, and doubles them."""

    def open(self) -> SlowJob:
        return self

    def work_steps(self, part: float) -> Steps[float]:
        for tenth in range(10):
            time.sleep(part / 10)
            yield Progress(tenth + 1, 10)
        return 2 * part


def test_crew_tells_how_far_a_part_is_before_it_is_done() -> None:
    # In threads of this process, which know the job.
    local = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, memory_limit=0
    )
    with local, distributed.Client(local) as client:
        told = list(DaskCrew(client, 1).share(SlowJob(), [0.01, 2.0]))
    assert [one for one in told if not isinstance(one, Busy)] == [(0, 0.02), (1, 4.0)]
    shares = [one.shares.get(1, 0.0) for one in told if isinstance(one, Busy)]
    assert shares == sorted(shares)
    assert len({share for share in shares if 0 < share < 1}) > 1


def test_stopped_run_of_a_cluster_is_finished_without_one(cluster, files, tmp_path) -> None:
    source, model = files
    store = tmp_path / "r.zarr"
    seen = []
    steps = analyze_shared_steps(source, model, PARAMETERS, store, cluster=cluster.scheduler_address)
    with pytest.raises(CancelledError):
        run(steps, on_progress=seen.append, stop=lambda: seen[-1].finished is not None)
    later = []
    done = run(
        analyze_steps(source.open(), hv.load_model(model), PARAMETERS, store=store),
        on_progress=later.append,
    )
    assert 0 < sum(one.finished is not None for one in later) < 4
    assert np.isfinite(done["z"].values).all()


def test_error_of_a_worker_is_the_error_of_the_run(cluster, files, tmp_path) -> None:
    source, model = files
    store = tmp_path / "r.zarr"
    steps = analyze_shared_steps(source, model, PARAMETERS, store, cluster=cluster.scheduler_address)
    moved = Path(source.path).with_name("moved.npy")
    try:
        while True:
            if "takes up to" in next(steps).message:
                break
        Path(source.path).rename(moved)
        with pytest.raises(VideoFileError, match=r"v\.npy"):
            run(steps)
    finally:
        moved.rename(source.path)


def test_cluster_that_is_not_there_is_one_sentence(files, tmp_path) -> None:
    source, model = files
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        with pytest.raises(ClusterError, match=f"{address} cannot be reached .* check that its scheduler"):
            run(analyze_shared_steps(source, model, PARAMETERS, tmp_path / "r.zarr", cluster=address))
    assert list(tmp_path.iterdir()) == []


def test_what_workers_cannot_share_is_refused(files, tmp_path) -> None:
    source, model = files
    with pytest.raises(ParameterError, match="workers is -1"):
        hv.analyze(source.path, model, store=tmp_path / "r.zarr", workers=-1)
    with pytest.raises(ParameterError, match="either a number of workers or the address"):
        hv.analyze(source.path, model, store=tmp_path / "r.zarr", workers=2, cluster="tcp://127.0.0.1:9")
    with pytest.raises(ParameterError, match="need a store"):
        hv.analyze(source.path, model, workers=2)
    with pytest.raises(VideoFileError, match="cannot be opened by other processes"):
        hv.analyze(np.zeros((3, 80, 80)), model, store=tmp_path / "r.zarr", workers=2)
