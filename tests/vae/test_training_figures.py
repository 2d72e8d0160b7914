"""Figures of a training show the curves and variances of the card."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_hrtem_vae.errors import ModelPartError, ResultError
from napari_hrtem_vae.vae.architecture import unpadded
from napari_hrtem_vae.vae.card import ModelCard
from napari_hrtem_vae.vae.training_figures import save_training_figure, training_figure


@pytest.fixture
def card() -> ModelCard:
    curves = [
        {
            "bce": 2752 - 20 * epoch,
            "kl": 10 + 3 * epoch,
            "val_bce": 2760 - 20 * epoch,
            "val_kl": 9 + 3 * epoch,
        }
        for epoch in range(5)
    ]
    training = {"curves": curves, "variances": [1e-4, 0.02, 0.5, 1.5], "entropy_floor": 2600.0}
    return ModelCard("mine", unpadded(), training=training)


def test_curves_of_both_losses_and_a_bar_for_each_latent_are_drawn(card) -> None:
    losses, variances, divergence = training_figure(card).axes
    drawn = {line.get_label(): line.get_ydata() for line in losses.lines}
    np.testing.assert_allclose(drawn["training"], [2752, 2732, 2712, 2692, 2672])
    np.testing.assert_allclose(drawn["validation"], [2760, 2740, 2720, 2700, 2680])
    np.testing.assert_allclose(divergence.lines[0].get_ydata(), [10, 13, 16, 19, 22])
    np.testing.assert_allclose([bar.get_height() for bar in variances.patches], [1e-4, 0.02, 0.5, 1.5])
    assert variances.get_title() == "3 of 4 latents active"


def test_the_figure_is_a_file_named_after_the_model(card, tmp_path) -> None:
    path = save_training_figure(card, tmp_path / "new")
    assert path == tmp_path / "new" / "mine-training.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_model_without_a_record_says_so(card) -> None:
    with pytest.raises(ModelPartError, match="mine has no record of its training"):
        training_figure(replace(card, training={}))


def test_a_folder_that_cannot_be_written_is_named(card, tmp_path) -> None:
    (tmp_path / "file").write_text("taken")
    with pytest.raises(ResultError, match="Nothing can be written"):
        save_training_figure(card, tmp_path / "file")
