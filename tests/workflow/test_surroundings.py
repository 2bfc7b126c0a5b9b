"""The workflow in other people's surroundings: elsewhere than its checkout, which is left as it is
and has spaces in its path; with a home that cannot be written, or one full of the user's settings.
"""

import json
import subprocess
from pathlib import Path

import pytest
from workflow import command, copy_repository, environment

pytestmark = pytest.mark.slow
FIGURE = Path("results/elsewhere-bundle/figures/figure1.svg")
SETTINGS = "font.size: 40\naxes.facecolor: red\nsavefig.transparent: True\n"


def files(folder: Path) -> dict[Path, float]:
    return {path: path.stat().st_mtime for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a checkout") / "with spaces"
    folder.mkdir()
    return copy_repository(folder, "bundles")


def draw(checkout: Path, working_directory: Path, home: Path, *options: str) -> None:
    """Figure 1 of one scale, from a bundle."""
    overlay = working_directory / "my overlay.yaml"
    overlay.write_text("{experiment: elsewhere, scales: [base]}")
    done = subprocess.run(
        command(
            *("figure1", "--snakefile", str(checkout / "Snakefile"), *options),
            *("--configfile", "my overlay.yaml"),
            *("--config", f"bundle={checkout}/bundles/miniature.zip"),
        ),
        cwd=working_directory,
        env=environment() | {"HOME": str(home), "XDG_CACHE_HOME": str(working_directory / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def expected(checkout, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    (folder / "home").mkdir()
    draw(checkout, folder, folder / "home")
    return (folder / FIGURE).read_bytes()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="a folder that not even root can write to")
def test_a_home_that_cannot_be_written(checkout, expected, tmp_path):
    before = files(checkout)
    draw(checkout, tmp_path, Path("/proc/nobody"))
    assert (tmp_path / FIGURE).read_bytes() == expected
    assert files(checkout) == before


def test_a_home_with_settings_of_its_own(checkout, expected, tmp_path):
    home = tmp_path / "home"
    kernel = home / ".local/share/jupyter/kernels/python3"
    kernel.mkdir(parents=True)
    broken = {"argv": ["no-such-python"], "display_name": "Python 3", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(broken))
    for folder in (home / ".config/matplotlib", tmp_path):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "matplotlibrc").write_text(SETTINGS)
    draw(checkout, tmp_path, home)
    assert (tmp_path / FIGURE).read_bytes() == expected


def test_another_working_directory(checkout, expected, tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    before = files(checkout)
    home = tmp_path / "home"
    home.mkdir()
    draw(checkout, tmp_path, home, "--directory", str(there))
    assert (there / FIGURE).read_bytes() == expected
    assert files(checkout) == before
