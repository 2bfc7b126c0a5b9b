"""The pins stand in one file an environment for pip, and again where conda needs them."""

from pathlib import Path

import pytest
import yaml

ENVS = Path(__file__).parents[2] / "envs"


def pins(path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    own = [line for line in lines if not line.startswith("-r ")]
    return own + [pin for line in lines if line not in own for pin in pins(ENVS / line[3:])]


@pytest.mark.parametrize("name", ["analysis", "train"])
def test_conda_and_pip_install_the_same(name):
    *_, pip = yaml.safe_load((ENVS / f"{name}.yaml").read_text())["dependencies"]
    assert sorted(pip["pip"]) == sorted(pins(ENVS / f"{name}.txt"))


@pytest.mark.parametrize("name", ["workflow", "figures", "bench"])
def test_every_pin_is_the_one_of_the_constraints(name):
    constraints = set((ENVS / "constraints.txt").read_text().lower().splitlines())
    assert {pin.lower() for pin in pins(ENVS / f"{name}.txt")} <= constraints


@pytest.mark.parametrize("name", ["analysis", "figures"])
def test_what_comes_after_the_matrix_needs_no_torch(name):
    heavy = ("torch", "transformers", "tensorstore", "datasets")
    assert not [pin for pin in pins(ENVS / f"{name}.txt") if pin.startswith(heavy)]
