"""Checksums, and the manifest of a run with its page."""

import hashlib
import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from escaping import MARKUP, check_escaped

from manifest import manifest as write_manifest
from underspec.checksums import checksums
from underspec.errors import ArtifactError
from underspec.provenance import manifest
from underspec.report.pages import write_page

PAGES = Path(__file__).parents[3] / "reports" / "pages"


def test_checksums_of_files_and_wildcards(tmp_path):
    for name in ("model-2.safetensors", "model-1.safetensors", "config.json"):
        (tmp_path / name).write_bytes(name.encode() * 100_000)
    rows = checksums([f"{tmp_path}/*.safetensors", f"{tmp_path}/config.json"])
    assert [Path(row["path"]).name for row in rows] == [
        "model-1.safetensors",
        "model-2.safetensors",
        "config.json",
    ]
    for row in rows:
        assert row["bytes"] == Path(row["path"]).stat().st_size
        assert row["sha256"] == hashlib.sha256(Path(row["path"]).read_bytes()).hexdigest()


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"none/\*\.safetensors: no such file"):
        checksums([f"{tmp_path}/none/*.safetensors"])


def benchmark(seconds, cpu):
    return pd.DataFrame({"s": [seconds], "cpu_time": [cpu]})


def test_time_by_stage():
    stages = manifest.by_stage(
        {
            "policy.tsv": benchmark(3.0, 2.0),
            "pretrain/base/seed0.tsv": benchmark(5.0, 4.0),
            "pretrain/xl/seed0.tsv": benchmark(7.0, float("nan")),
        }
    )
    assert stages == [
        {"stage": "pretrain", "jobs": 2, "seconds": 12.0, "cpu_seconds": 4.0},
        {"stage": "policy", "jobs": 1, "seconds": 3.0, "cpu_seconds": 2.0},
    ]
    assert manifest.by_stage({}) == []


def test_pins_of_requirements():
    texts = ["# remark\n-r other.txt\nnumpy==2.4\nPyYAML==6\n", "numpy==2.4\n"]
    assert manifest.pinned(texts) == ["numpy", "pyyaml"]


def test_versions_of_what_is_installed_and_what_is_not():
    found = manifest.versions(["numpy", "no-such-package"])
    assert found == {"numpy": np.__version__, "no-such-package": None}


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_and_whether_files_differ_from_it(tmp_path):
    none = {"commit": None, "dirty": None}
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    assert manifest.checkout(root) == none
    git(root, "init", "-q")
    assert manifest.checkout(root) == none  # no commit yet
    (root / "file").write_text("1")
    git(root, "add", "file")
    git(root, "commit", "-qm", "first")
    commit = git(root, "rev-parse", "HEAD")
    assert manifest.checkout(root) == {"commit": commit, "dirty": False}
    (root / "results").write_text("not tracked")
    assert manifest.checkout(root) == {"commit": commit, "dirty": False}
    (root / "file").write_text("2")
    assert manifest.checkout(root) == {"commit": commit, "dirty": True}
    assert manifest.checkout(root / "inside") == none
    assert manifest.checkout(tmp_path / "missing") == none


def test_this_machine():
    machine = manifest.this_machine()
    assert machine["cpus"] >= 1 and machine["memory_bytes"] > 1e8 and machine["processor"]


def test_the_manifest_says_the_same_as_its_page(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    benchmark(3.0, 2.5).to_csv(tmp_path / "benchmarks" / "policy.tsv", sep="\t", index=False)
    (tmp_path / "env.txt").write_text("numpy==1\nno-such-package==1\n")
    files = pd.DataFrame({"path": ["data/posts.parquet"], "bytes": [1000], "sha256": ["ab" * 32]})
    files.to_csv(tmp_path / "checksums.csv", index=False)
    config = {"experiment": "tiny", "nested": {"key": [1, 2]}, "nothing": None}
    write_manifest(
        config=config,
        environments=[tmp_path / "env.txt"],
        checksums=tmp_path / "checksums.csv",
        benchmarks=tmp_path / "benchmarks",
        experiment="tiny",
        template=PAGES / "manifest.html",
        page=tmp_path / "report" / "manifest.html",
        merged_config=tmp_path / "config.yaml",
        manifest=tmp_path / "manifest.json",
    )
    written = json.loads((tmp_path / "manifest.json").read_text())
    assert written["config"] == yaml.safe_load((tmp_path / "config.yaml").read_text()) == config
    assert written["cpu_seconds"] == 2.5
    assert written["files"] == files.to_dict("records")
    html = (tmp_path / "report" / "manifest.html").read_text()
    for word in ("ab" * 32, "data/posts.parquet", np.__version__, "not in the environment"):
        assert word in html


def test_the_manifest_shows_markup_as_text(tmp_path):
    write_page(
        PAGES / "manifest.html",
        tmp_path / "manifest.html",
        run={
            "code": {"commit": MARKUP, "dirty": False},
            "machine": dict.fromkeys(("python", "platform", "processor", "cpus"), MARKUP)
            | {"memory_bytes": 1},
            "stages": [{"stage": MARKUP, "jobs": 1, "seconds": 1.0, "cpu_seconds": 1.0}],
            "cpu_seconds": 1.0,
            "files": [{"path": MARKUP, "bytes": 1, "sha256": MARKUP}],
            "packages": {MARKUP: MARKUP},
        },
        config=MARKUP,
        face=MARKUP,
    )
    check_escaped((tmp_path / "manifest.html").read_text(), times=12)
