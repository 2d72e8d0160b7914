"""Real videos, through Analyze to the end; real crystals, reconstructed."""

from __future__ import annotations

import numpy as np

import napari_hrtem_vae as hv


def test_graphene_video_runs_to_the_end(shared_data) -> None:
    file = next((shared_data / "graphene_si").glob("*_frames_2-52.tif"))
    video = hv.open_video(file, pixel_size_nm=0.0076, frame_time_s=1.0)
    assert video.shape == (48, 256, 256)
    result = hv.analyze(video)
    # 256 px of 7.6 pm are 138 px of the model's 14 pm: ten sites along each axis.
    assert result["z"].shape == (48, 10, 10, 64)
    assert any("reduced to 0.54" in notice for notice in result.attrs["notices"])
    assert np.isfinite(result["time_correlated_variance"]).all()


def test_gold_video_runs_to_the_end(shared_data) -> None:
    video = hv.open_video(next((shared_data / "au_heating").glob("*.tif")))
    assert video.shape == (194, 369, 369)
    result = hv.analyze(video)
    assert result["z"].shape == (194, 39, 39, 64)
    assert result["y"].attrs["units"] == "px"
    assert np.isfinite(result["change"]).all()


def test_real_crystals_reconstruct_with_their_fringes(shared_data) -> None:
    from docs.reconstruct_still import PERIOD_PX, fringe_contrast, reconstructed_windows

    still = hv.open_video(next((shared_data / "pbs_hrtem").glob("*.tif")))[:, 100:300, 150:350]
    windows, drawn = reconstructed_windows(still, hv.load_model("pbs-64-fast"))
    crystal = np.argsort(-fringe_contrast(windows))[:20]
    assert PERIOD_PX == 20
    correlations = [np.corrcoef(windows[i].ravel(), drawn[i].ravel())[0, 1] for i in crystal]
    assert np.median(correlations) > 0.85
    assert np.median(fringe_contrast(drawn[crystal]) / fringe_contrast(windows[crystal])) > 0.8
