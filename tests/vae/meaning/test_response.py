"""What latents answer to, told of an encoder whose latents are known."""

from __future__ import annotations

import numpy as np
import pytest

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import ModelFileError, ParameterError
from napari_hrtem_vae.vae.architecture import ARCHITECTURES
from napari_hrtem_vae.vae.card import ModelCard
from napari_hrtem_vae.vae.meaning.response import CHANGES, from_record, latent_response, recorded


class Known:
    """Latent 0: contrast alone; 1: direction of the fringes; 2: phase of the fringes; 3: nothing."""

    def __init__(self):
        architecture = ARCHITECTURES["unpadded"]()
        self.card = ModelCard("known", architecture, scaling="video", period_px=21.0)

    def encode(self, windows):
        flat = windows - windows.mean((1, 2), keepdims=True)
        z = np.zeros((len(windows), self.card.latents), np.float32)
        z[:, 0] = flat.std((1, 2))
        z[:, 2] = flat[:, 20:24, 20:24].mean((1, 2)) / flat.std((1, 2))
        return z, z


def test_a_latent_is_called_by_what_moves_it_most():
    found = latent_response(Known(), lattices=6)
    answer = found["response"].sel(latent=0)
    assert answer.sel(change="contrast") > 5 * answer.sel(change="translation y")
    assert found["label"].values[2] in ("translation", "rotation", "mixed")
    assert found["response"].sel(latent=2, change="translation x") > found["response"].sel(
        latent=2, change="contrast"
    )
    assert (found["label"].values[3:] == "inactive").all()


def test_the_shipped_model_answers_to_every_change_with_errors():
    found = latent_response(hv.load_model("pbs-64-fast"), lattices=3)
    assert list(found["change"].values) == list(CHANGES)
    assert (found["response"].sum("latent") > 0).all()
    assert np.isfinite(found["response_error"]).all()
    # A translation by a period and a turn by 90° move the latents more than a loss of contrast does.
    total = found["response"].sum("latent")
    assert total.sel(change="rotation") > 2 * total.sel(change="contrast")


def test_a_record_gives_the_table_back():
    found = latent_response(Known(), lattices=2)
    again = from_record(recorded(found))
    np.testing.assert_allclose(again["response"], found["response"], atol=1e-5)
    assert again["label"].values.tolist() == found["label"].values.tolist()
    with pytest.raises(ModelFileError):
        from_record({"response": [[1]], "label": "x"})


@pytest.mark.parametrize("period", [0.5, 40.0])
def test_a_period_that_the_window_cannot_show_is_refused(period):
    with pytest.raises(ParameterError, match="period_px"):
        latent_response(Known(), period_px=period)


def test_one_lattice_tells_no_error():
    with pytest.raises(ParameterError, match="2 or more"):
        latent_response(Known(), lattices=1)
