"""The package as a whole: what importing it costs, which way imports go, what its manifest says."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "napari", "qtpy", "superqt", "magicgui", "PyQt6", "PySide6")
IMPORT_SECONDS = 0.3


def run_python(code: str) -> str:
    """What `code` prints in a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_the_package_loads_neither_torch_nor_qt_nor_napari():
    loaded = run_python("import sys, napari_hrtem_vae; print(*{name.split('.')[0] for name in sys.modules})")
    assert "napari_hrtem_vae" in loaded.split()
    assert not set(HEAVY) & set(loaded.split())


def test_importing_the_package_takes_less_than_three_tenths_of_a_second():
    code = "from time import perf_counter as now; t = now(); import napari_hrtem_vae; print(now() - t)"
    # The best of five: the others tell how busy the machine is.
    assert min(float(run_python(code)) for _ in range(5)) < IMPORT_SECONDS


def test_every_public_name_is_there_when_asked_for():
    import napari_hrtem_vae as hv

    promised = "open_video load_model encode map_dynamics analyze simulate train open_result"
    assert set(promised.split()) <= set(hv.__all__)
    for name in hv.__all__:
        # twice: importing a module binds its name in the package, over the function of that name
        assert getattr(hv, name) is not None
        assert callable(getattr(hv, name)) or name == "__version__"
    assert set(hv.__all__) <= set(dir(hv))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = hv.no_such_name


def test_version_is_that_of_the_installed_distribution():
    import napari_hrtem_vae as hv

    assert hv.__version__ == version("napari-hrtem-vae")
    assert f"\nversion: {hv.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_imports_go_one_way():
    checked = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_logo=True))",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 broken" in checked.stdout


def test_command_line_answers_without_loading_torch_or_qt():
    loaded = run_python(
        "import sys; from napari_hrtem_vae.cli import main\n"
        "sys.argv = ['hrtem-vae', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('LOADED', *{name.split('.')[0] for name in sys.modules})"
    )
    help_text, modules = loaded.split("LOADED")
    assert "analyze" in help_text
    assert not set(HEAVY) & set(modules.split())


@pytest.mark.parametrize("name", ["napari.yaml", "sample_data"])
def test_link_at_the_top_leads_into_the_package(name):
    link = ROOT / name
    assert link.resolve() == (ROOT / "src" / "napari_hrtem_vae" / name).resolve()
    assert link.exists()


def test_manifest_validates_and_its_commands_can_be_imported():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution("napari-hrtem-vae")
    manifest.validate_imports()
    assert manifest.package_version == version("napari-hrtem-vae")
    contributions = manifest.contributions
    assert "Analyze" in [widget.display_name for widget in contributions.widgets]
    assert contributions.readers
    assert contributions.sample_data


def test_napari_finds_the_manifest_by_its_entry_point():
    (found,) = [point for point in entry_points(group="napari.manifest") if point.name == "napari-hrtem-vae"]
    assert found.value == "napari_hrtem_vae:napari.yaml"


def test_constraints_pin_every_base_dependency():
    from importlib.metadata import requires

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(line.split("==")[0]): line for line in lines if "==" in line}
    required = [Requirement(text) for text in requires("napari-hrtem-vae") or []]
    base = {canonicalize_name(one.name) for one in required if one.marker is None}
    assert "torch" in base
    assert base <= set(pinned)
    assert pinned["torch"] == "torch==2.13.0"


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(f"docs/{page.name}" for page in ROOT.glob("docs/*.md"))]
)
def test_links_and_pictures_of_the_docs_lead_to_files(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target]
    assert [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()] == []
