"""How overlays, and what they extend, lie over config.yaml; and what is refused in their files."""

import json
import shutil
from pathlib import Path

import pytest

from underspec.config.layers import merged, read_config
from underspec.config.validation import validate
from underspec.errors import ConfigError
from underspec.provenance import archive, bundle

ROOT = Path(__file__).parents[3]


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
    "nested too deep": ("experiment: x\nscales: " + "[" * 3000 + "]" * 3000, "nested too deep"),
    "a list for a key": ("experiment: x\n? [a, b]\n: 1\n", "line 2: "),
    "a key twice": ("experiment: x\nresamples: 1\nresamples: 2\n", "line 3: the key resamples"),
    "two names": ("experiment: x\nexperiment: y\n", "line 2: the key experiment"),
    "a deep key twice": (
        "experiment: x\nmodels:\n  base:\n    pretrain: {steps: 1}\n    pretrain: {steps: 2}\n",
        "line 5: the key pretrain",
    ),
    "a key twice in a list": ("experiment: x\nscales: [{a: 1, a: 2}]\n", "line 2: the key a"),
}


@pytest.mark.parametrize("name", ["config.yaml", "overlay.yaml", "extended.yaml"])
@pytest.mark.parametrize(("content", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named_in_one_line(repository, name, content, said):
    (overlay,) = written(repository, overlay="{experiment: x, extends: extended.yaml}")
    written(repository, extended="{experiment: y}")
    if content is None:
        (repository / name).unlink()
    else:
        text = content if isinstance(content, bytes) else content.encode()
        (repository / name).write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        read_config(repository, overlay)
    message = str(caught.value)
    assert message.startswith(f"{repository / name}: {said}")
    assert "\n" not in message


def test_a_key_in_two_maps_is_no_duplicate(repository):
    text = "{experiment: x, labels: &shared {seed: 5}, policy: {seed: 6}, evaluator: {<<: *shared}}"
    (path,) = written(repository, two=text)
    assert read_config(repository, path)["evaluator"]["seed"] == 5


BUNDLE = ROOT / "bundles/miniature.zip"


@pytest.mark.parametrize("layer", ["config", "overlay", "extended", "given"])
def test_a_bundle_lies_under_the_overlays_wherever_it_is_named(repository, layer):
    named = {layer: f"bundle: {BUNDLE}\n"}
    config = (repository / "config.yaml").read_text().replace("bundle: null", "")
    files = {
        "config": config.replace("batch: 32", "batch: 64"),  # which the bundle has otherwise
        "overlay": "experiment: x\nextends: extended.yaml\nresamples: 444\n",
        "extended": "experiment: y\nensemble_size: 3\n",
    }
    written(repository, **{name: text + named.get(name, "") for name, text in files.items()})
    given = {"bundle": str(BUNDLE)} if layer == "given" else {}
    found = read_config(repository, repository / "overlay.yaml", given=given)
    assert found["recipe"]["batch"] == 32
    assert (found["bundle"], found["experiment"]) == (str(BUNDLE), "x")
    assert (found["resamples"], found["ensemble_size"]) == (444, 3)


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("labels.length_bias", {"labels": {"length_bias": 0.5}}),
        ("world", {"world": "debian"}),
        ("rlhf.bounded", {"rlhf": {"bounded": True}}),
        ("styles.posts", {"styles": {"posts": 10}}),
        ("models.base.shape.d_model", {"models": {"base": {"shape": {"d_model": 8}}}}),
    ],
)
def test_how_a_bundle_was_made_cannot_be_changed(repository, key, given):
    with pytest.raises(ConfigError, match=f"^{key}: .*miniature.zip was made with .*cannot be"):
        read_config(repository, given={"bundle": str(BUNDLE)} | given)


@pytest.mark.parametrize(
    "given",
    [
        {"scales": ["base"], "rlhf": {"rankers": {"base": []}}, "styles": {"posts": 0}},
        {"world": "micro_tldr", "labels": {"length_bias": 0}},  # as the bundle has them
        {"judge": {"url": "gold"}, "best_of_n": [1, 4]},
    ],
)
def test_of_what_a_bundle_holds_a_part_may_be_chosen(repository, given):
    found = read_config(repository, given={"bundle": str(BUNDLE)} | given)
    assert merged(found, given) == found


def test_a_bundle_from_before_rlhf_and_styles_has_none(repository, tmp_path):
    """Otherwise config.yaml would ask it for what it cannot have."""
    members = archive.read_archive(BUNDLE)
    bundled = json.loads(members[bundle.CONFIG])
    bundled.pop("rlhf", None)
    bundled.pop("styles", None)
    members = members | {bundle.CONFIG: archive.to_json(bundled)}
    provenance = json.loads(members.pop(archive.MANIFEST))["provenance"]
    older = tmp_path / "older.zip"
    archive.write_archive(members, provenance, older)
    found = read_config(repository, given={"bundle": str(older)})
    assert (found["rlhf"]["rankers"], found["styles"]["posts"]) == ({}, 0)


AS_WRITTEN = [
    # key, as it stands in the file, as meant
    ("experiment", "007", "007"),
    ("experiment", "2024_01", "2024_01"),
    ("experiment", "1e3", "1e3"),
    ("experiment", "0b11", "0b11"),
    ("resamples", "0777", 777),
    ("resamples", "1_000", 1000),
    ("resamples", "+500", 500),
    ("resamples", "0x200", 512),
    ("centering", "1e-3", 0.001),
    ("centering", "1.0e-3", 0.001),
    ("centering", "00.5", 0.5),
    ("centering", ".5", 0.5),
    ("protect_pretrained", "yes", True),
    ("protect_pretrained", "off", False),
]


@pytest.mark.parametrize(("key", "text", "meant"), AS_WRITTEN)
def test_what_is_written_is_what_is_meant(repository, key, text, meant):
    name = "" if key == "experiment" else "experiment: x\n"
    (path,) = written(repository, x=f"{name}{key}: {text}\n")
    found = validate(read_config(repository, path))[key]
    assert found == meant and type(found) is type(meant)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("resamples", "12:00:00"),  # 43,200 to YAML 1.1
        ("checkpoint_seconds", "1:30"),
        ("centering", "1:30.5"),
        ("resamples", "0b1111111111"),
        ("resamples", "1,000"),
        ("resamples", "5__00"),
        ("resamples", "\u0662\u0660\u0660"),
        ("centering", "0,5"),
        ("centering", ".inf"),
        ("centering", "1e400"),
        ("experiment", "12:30"),
        ("experiment", "7"),
        ("experiment", "1.5"),
        ("experiment", "no"),
        ("experiment", "~"),
        ("experiment", "x\u200b"),
    ],
)
def test_what_could_mean_two_things_is_refused(repository, key, text):
    name = "" if key == "experiment" else "experiment: x\n"
    (path,) = written(repository, x=f"{name}{key}: {text}\n")
    with pytest.raises(ConfigError, match=f"^{key}: .* is not allowed"):
        validate(read_config(repository, path))


@pytest.mark.parametrize("text", ["\ufeffexperiment: x\n", "experiment: x\r\nresamples: 200\r\n"])
def test_what_other_editors_write_is_read(repository, text):
    (repository / "x.yaml").write_text(text, encoding="utf-8", newline="")
    assert validate(read_config(repository, repository / "x.yaml"))["experiment"] == "x"


@pytest.mark.parametrize("key", ["extends", "bundle"])
@pytest.mark.parametrize("name", ['"a\\0b"', '"a\\nb.yaml"', '" "'])
def test_a_name_of_a_file_that_is_no_line_of_text(repository, key, name):
    (path,) = written(repository, x=f"experiment: x\n{key}: {name}\n")
    with pytest.raises(ConfigError, match=f"^{key}: .*must be one line of text") as caught:
        read_config(repository, path)
    assert "\n" not in str(caught.value)
