"""Recipes: those of the package, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_hrtem_vae.errors import ParameterError
from napari_hrtem_vae.vae.recipe import Recipe, load_recipe, recipe_names


def test_recipes_of_the_package_load() -> None:
    assert {"pbs-64", "pbs-64-fast", "pbs-64-published", "quick"} <= set(recipe_names())
    assert all(load_recipe(name).name == name for name in recipe_names())
    assert load_recipe("pbs-64-published").beta == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2]", "no list of 'name: value'"),
        ("surprise: 1", "an entry 'surprise', which none has; allowed are name, architecture, scenes"),
        ("1: 2", "an entry '1', which none has"),
        ("beta: -1", "beta is -1"),
        ("epochs: 0", "epochs is 0; give a whole number from 1"),
        ("a: b: c", "is not YAML"),
        ("architecture: giant", "architecture is 'giant'; give one of published-pbs, unpadded"),
        ("architecture: published-cdse", "give one of published-pbs, unpadded"),
        ("architecture: [unpadded]", "architecture is"),
        ("scenes: comic", "give one of fast, multislice, both"),
        ("epochs: many", "epochs is 'many'"),
        ("pixel_size_nm: 0", "pixel_size_nm is 0"),
        ("fringe_threshold: .nan", "fringe_threshold is nan"),
        ("contrast_jitter: -0.1", "contrast_jitter is -0.1; give a number from 0 to 10"),
        ("dose_noise: loud", "dose_noise is 'loud'"),
    ],
)
def test_recipe_that_is_none_is_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ParameterError) as raised:
        load_recipe(path)
    assert says in str(raised.value)


def test_what_a_recipe_does_not_name_keeps_its_default(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("beta: 0.5\ndose_e_per_px: [1, 2]\npixel_size_nm: 0.02\n")
    assert load_recipe(path) == Recipe(beta=0.5, dose_e_per_px=(1.0, 2.0), pixel_size_nm=0.02)
