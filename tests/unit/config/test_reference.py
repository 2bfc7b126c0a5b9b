"""The reference of the config, for people and editors, says what the schema says."""

import json

import pytest
import yaml
from jsonschema import Draft202012Validator

from reference import ROOT, comments, made, schema

OVERLAYS = sorted((ROOT / "experiments").glob("*.yaml"))


@pytest.mark.parametrize("path", made(), ids=lambda path: path.name)
def test_it_is_up_to_date(path):
    """`make reference` renews it."""
    assert path.read_text() == made()[path]


@pytest.mark.parametrize("path", [ROOT / "config.yaml", *OVERLAYS], ids=lambda path: path.stem)
def test_every_config_fits_the_schema(path):
    Draft202012Validator(schema()).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"scalez": ["base"]},
        {"models": {"base": {"shape": {"width": 3}}}},
        {"worlds": {"micro_tldr": {"sede": 1}}},
        {"pretrain_seeds": [-1, 2]},
        {"grid": "half"},
        {"experiment": "no spaces"},
    ],
)
def test_what_the_config_refuses_the_schema_refuses(wrong):
    assert list(Draft202012Validator(schema()).iter_errors(wrong))


def test_comments_belong_to_their_keys():
    said = comments("# all\n# of it\na: # top\n  b: 1 # one\n  # above\n  c: x#y\nd: 2\n")
    assert said[("a",)] == "all of it top"
    assert said[("a", "b")] == "one" and said[("a", "c")] == "above" and said[("d",)] == ""


def test_every_key_has_a_row():
    page = (ROOT / "docs/configuration.md").read_text()
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert all(f"| `{key}" in page for key in config)
    assert (
        json.loads((ROOT / "config.schema.json").read_text())["properties"].keys() == config.keys()
    )
