"""How overlays, and what they extend, lie over config.yaml; and what is refused in their files."""

import shutil
from pathlib import Path

import pytest

from underspec.config import read_config, validate
from underspec.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository(tmp_path) -> Path:
    """A repository with a config.yaml and nothing else."""
    shutil.copy(ROOT / "config.yaml", tmp_path)
    return tmp_path


def written(repository: Path, **files: str) -> list[Path]:
    for name, text in files.items():
        (repository / f"{name}.yaml").write_text(text, encoding="utf-8")
    return [repository / f"{name}.yaml" for name in files]


CHAIN = {
    "low": "{experiment: low, resamples: 111, labels: {seed: 1, noise: 0.1}, centering: 0.5}",
    "middle": "{extends: low.yaml, experiment: middle, resamples: 222, labels: {seed: 2}}",
    "high": "{extends: middle.yaml, experiment: high, labels: {seed: 3}}",
}


def test_a_chain_of_overlays_is_followed_to_its_end(repository):
    *_, high = written(repository, **CHAIN)
    config = validate(read_config(repository, high))
    assert config["experiment"] == "high"
    assert config["labels"]["seed"] == 3
    assert config["resamples"] == 222  # of the middle one
    assert (config["labels"]["noise"], config["centering"]) == (0.1, 0.5)  # of the lowest
    assert config["labels"]["temperature"] == 0.5  # of config.yaml


def test_all_overlays_lie_over_all_that_they_extend(repository):
    *_, high = written(repository, **CHAIN)
    other = written(
        repository,
        base="{experiment: base, centering: 0.7, resamples: 333}",
        other="{extends: base.yaml, experiment: other, labels: {seed: 4}}",
    )[-1]
    config = read_config(repository, high, other)
    assert (config["experiment"], config["labels"]["seed"]) == ("other", 4)
    assert (config["centering"], config["resamples"]) == (0.7, 333)
    again = read_config(repository, repository / "middle.yaml", high)
    assert again == read_config(repository, high) | {"resamples": 222}


def test_what_is_given_comes_first(repository):
    *_, high = written(repository, **CHAIN)
    config = read_config(repository, high, given={"resamples": 999, "labels": {"seed": 9}})
    assert (config["resamples"], config["labels"]["seed"]) == (999, 9)
    assert config["labels"]["noise"] == 0.1
    low = read_config(repository, given={"extends": "low.yaml", "resamples": 999})
    assert (low["experiment"], low["resamples"]) == ("low", 999)


@pytest.mark.parametrize(
    "files",
    [
        {"a": "{experiment: a, extends: a.yaml}"},
        {"b": "extends: ./a.yaml", "a": "{experiment: a, extends: b.yaml}"},
        {"c": "extends: a.yaml", "b": "extends: c.yaml", "a": "{experiment: a, extends: b.yaml}"},
    ],
)
def test_a_circle_is_refused_by_name(repository, files):
    *_, a = written(repository, **files)
    with pytest.raises(ConfigError, match=r"a\.yaml: extends itself \(.*a\.yaml extends") as caught:
        read_config(repository, a)
    assert all(f"{name}.yaml" in str(caught.value) for name in files)
    assert "\n" not in str(caught.value)


def test_a_file_that_two_others_extend_is_no_circle(repository):
    *_, high = written(repository, **CHAIN)
    (twin,) = written(repository, twin="{extends: middle.yaml, experiment: twin}")
    assert read_config(repository, high, twin)["experiment"] == "twin"


@pytest.mark.parametrize("extends", ["7", "[low.yaml]", "{a: b}", "true"])
def test_extends_is_the_name_of_a_file(repository, extends):
    (path,) = written(repository, odd=f"{{experiment: odd, extends: {extends}}}")
    with pytest.raises(ConfigError, match="^extends: .*string"):
        read_config(repository, path)


def test_an_overlay_needs_a_name_of_its_own(repository):
    low, nameless = written(
        repository, low=CHAIN["low"], nameless="{extends: low.yaml, resamples: 444}"
    )
    for overlays in ([nameless], [low, nameless]):
        with pytest.raises(ConfigError, match=r"nameless\.yaml: has no `experiment:`"):
            read_config(repository, *overlays)
    named = read_config(repository, nameless, given={"experiment": "mine"})
    assert (named["experiment"], named["resamples"]) == ("mine", 444)
    assert read_config(repository, nameless, low)["experiment"] == "low"


BROKEN = {
    "missing": (None, "No such file"),
    "empty": ("", "empty"),
    "comments alone": ("# experiment: x\n", "empty"),
    "a list": ("- experiment\n- x\n", "not a map"),
    "a word": ("experiment\n", "not a map"),
    "no YAML": ("experiment: x\nscales: [base\n", "line 3: "),
    "a tab": ("experiment: x\nlabels:\n\tseed: 1\n", "line 3: "),
    "no text": (b"experiment: \xff\n", "not readable"),
    "a control character": (b"experiment: \x07\n", "not readable"),
    "an impossible date": ("experiment: 2024-13-45\n", "not readable"),
    "a list for a key": ("experiment: x\n? [a, b]\n: 1\n", "line 2: "),
    "a key twice": ("experiment: x\nresamples: 1\nresamples: 2\n", "line 3: the key resamples"),
    "two names": ("experiment: x\nexperiment: y\n", "line 2: the key experiment"),
    "a deep key twice": (
        "experiment: x\nmodels:\n  base:\n    pretrain: {steps: 1}\n    pretrain: {steps: 2}\n",
        "line 5: the key pretrain",
    ),
    "a key twice in a list": ("experiment: x\nscales: [{a: 1, a: 2}]\n", "line 2: the key a"),
}


@pytest.mark.parametrize("place", ["config.yaml", "overlay.yaml", "extended.yaml"])
@pytest.mark.parametrize(("content", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named_in_one_line(repository, place, content, said):
    (overlay,) = written(repository, overlay="{experiment: x, extends: extended.yaml}")
    written(repository, extended="{experiment: y}")
    if content is None:
        (repository / place).unlink()
    else:
        text = content if isinstance(content, bytes) else content.encode()
        (repository / place).write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        read_config(repository, overlay)
    message = str(caught.value)
    assert message.startswith(f"{repository / place}: {said}")
    assert "\n" not in message


def test_a_key_in_two_maps_is_no_duplicate(repository):
    text = "{experiment: x, labels: &shared {seed: 5}, policy: {seed: 6}, evaluator: {<<: *shared}}"
    (path,) = written(repository, two=text)
    assert read_config(repository, path)["evaluator"]["seed"] == 5


BUNDLE = ROOT / "bundles/miniature.zip"


@pytest.mark.parametrize("place", ["config", "overlay", "extended", "given"])
def test_a_bundle_lies_under_the_overlays_wherever_it_is_named(repository, place):
    named = {place: f"bundle: {BUNDLE}\n"}
    config = (repository / "config.yaml").read_text().replace("bundle: null", "")
    files = {
        "config": config.replace("batch: 32", "batch: 64"),  # which the bundle has otherwise
        "overlay": "experiment: x\nextends: extended.yaml\nresamples: 444\n",
        "extended": "experiment: y\ncentering: 0.5\n",
    }
    written(repository, **{name: text + named.get(name, "") for name, text in files.items()})
    given = {"bundle": str(BUNDLE)} if place == "given" else {}
    found = read_config(repository, repository / "overlay.yaml", given=given)
    assert found["recipe"]["batch"] == 32
    assert (found["bundle"], found["experiment"]) == (str(BUNDLE), "x")
    assert (found["resamples"], found["centering"]) == (444, 0.5)
