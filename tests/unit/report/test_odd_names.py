"""Names that look like numbers, or like nothing: experiments and scales keep them to the letter."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_results import DESIGN, NEWER, NO_CHEAPER, PUBLISHED, run
from test_evidence_tables import CLAIMS_FILE, OF_GOLD, TABLES, inputs, run_evidence
from test_notebooks import NOTEBOOKS, ROOT, check_written, run_here, small_tables

from claims import claims
from underspec.csv_files import TEXT, read_csv, write_csv
from underspec.report import plots
from underspec.report.overview import read_claims

SCALES = ["007", "NA"]
DRAWN = [notebook for notebook in NOTEBOOKS if notebook.stem != "training"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables and claims of an experiment with scales of such names."""
    folder, experiment = tmp_path_factory.mktemp("007"), DESIGN | {"scales": SCALES}
    run_evidence(folder, experiment, length_bias=0.05)
    run(folder, experiment)
    claims(
        claims_file=CLAIMS_FILE,
        published=PUBLISHED,
        evidence=[folder / "evidence" / scale for scale in SCALES],
        tables=[folder / "tables" / f"{name}.csv" for name in TABLES + OF_GOLD],
        best_of_n=experiment["best_of_n"],
        pretraining_seeds=len(experiment["pretrain_seeds"]),
        grid=experiment["grid"],
        ensemble_size=experiment["ensemble_size"],
        world="debian",
        reward="preference",
        table1_long=folder / "tables" / "table1_long.csv",
        claims=folder / "claims.csv",
    )
    for name, table in small_tables().items():
        if not (folder / f"tables/{name}.csv").exists():  # of what this experiment does not have
            named = table.replace({"scale": {"base": "007", "xl": "NA", "xxl": "huge"}}).assign(
                parameters=500
            )
            write_csv(named, folder / f"tables/{name}.csv")
    return folder


def tables(folder):
    return sorted((folder / "tables").glob("*.csv"))


def test_every_table_keeps_the_names_of_scales(folder):
    assert len(tables(folder)) >= 12
    for path in tables(folder):
        assert set(read_csv(path).scale) - {"huge"} == set(SCALES), path.name


def test_all_other_columns_are_numbers(folder):
    """So a new column of text has to be named in TEXT."""
    written = {path.stem: read_csv(path) for path in [*tables(folder), folder / "claims.csv"]}
    written["training"] = small_tables()["training"]
    for name, table in written.items():
        for column in set(table) - set(TEXT):
            assert pd.api.types.is_numeric_dtype(table[column]), f"{name}: {column}"
        for column in set(table) & set(TEXT):
            assert all(isinstance(value, str) for value in table[column]), f"{name}: {column}"


def test_text_stays_text_and_what_is_open_stays_open(tmp_path):
    names = ["007", "1e3", "NA", "null", "nan", "True", "2024_01"]
    table = pd.DataFrame({"scale": names, "reward": [1.5, np.nan, *range(5)]})
    write_csv(table, tmp_path / "table.csv")
    found = read_csv(tmp_path / "table.csv")
    assert list(found.scale) == names
    assert np.isnan(found.reward[1]) and found.reward.sum() == 11.5


def test_the_claims_keep_the_names_of_scales(folder):
    rows = read_claims(folder / "claims.csv")
    names = {"NA", "007"}  # none is the paper's, so that claims are about these
    assert names <= {row["scale"] for row in rows} <= {None, *names}
    assert all(row["these_models"] is None for row in rows if row["estimate"] is None)
    assert all(row["published"] != "" for row in rows)


@pytest.mark.parametrize("notebook", DRAWN, ids=lambda path: path.stem)
def test_every_notebook_draws_them(folder, tmp_path, monkeypatch, notebook):
    monkeypatch.setitem(plots.STYLE, "svg.fonttype", "none")
    values = {
        "table": str(folder / f"tables/{notebook.stem}.csv"),
        "output": str(tmp_path / notebook.stem),
        "experiment": "1e3",
    }
    run_here(notebook, values)
    check_written(notebook, tmp_path)
    written = tmp_path / f"{notebook.stem}.{'html' if notebook.stem == 'table1' else 'svg'}"
    text = written.read_text()
    assert "1e3 · not at paper scale" in text
    if notebook.stem != "accuracy":  # whose scales stand on an axis
        assert "007 (500 parameters)" in text and "NA (500 parameters)" in text


def test_latex_reads_a_name_with_an_underscore(folder, tmp_path):
    table = read_csv(folder / "tables/table1.csv").replace({"scale": {"007": "my_scale"}})
    table.to_csv(tmp_path / "table1.csv", index=False)
    values = {"table": str(tmp_path / "table1.csv"), "output": str(tmp_path / "table1")}
    run_here(ROOT / "reports/notebooks/table1.ipynb", values | {"experiment": "a_b"})
    rows = [line for line in (tmp_path / "table1.tex").read_text().splitlines() if line[0] != "%"]
    assert any(r"my\_scale (500 parameters)" in row for row in rows)
    assert not any(re.search(r"[^\\]_", row) for row in rows)


def test_a_stage_keeps_a_scale_s_name(folder, tmp_path):
    command = [sys.executable, "scripts/evidence.py"]
    command += [str(part) for name, path in inputs(folder).items() for part in (f"--{name}", path)]
    design = {key: value for key, value in DESIGN.items() if key != "scales"}
    for name, value in {"design": design, "newer": NEWER, "cheaper": NO_CHEAPER}.items():
        command += [f"--{name}", json.dumps(value)]
    command += ["--length_bias", "0.0", "--resamples", "100", "--tables", '["exact"]']
    for scale in SCALES:
        output = tmp_path / scale
        options = ["--scale", scale, "--output", str(output)]
        subprocess.run([*command, *options], cwd=ROOT, check=True)
        assert set(read_csv(output / "exact.csv").scale) == {scale}


@pytest.mark.slow
def test_papermill_is_given_names_as_text(tmp_path):
    """The command of rules/figures.smk, run on a table alone."""
    shutil.copytree(ROOT / "reports/notebooks", tmp_path / "reports/notebooks")
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    (tmp_path / "results/007/tables").mkdir(parents=True)
    (tmp_path / "results/007/logs").mkdir()
    table = small_tables()["figure2"].replace({"scale": {"base": "007", "xl": "NA"}})
    write_csv(table, tmp_path / "results/007/tables/figure2.csv")
    (tmp_path / "x.yaml").write_text('experiment: "007"')
    overlay = ["--configfile", str(tmp_path / "x.yaml")]
    dry = [sys.executable, "-m", "snakemake", "--cores", "1", "-n", "-p", "figure2", *overlay]
    printed = subprocess.run(dry, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    (command,) = re.findall(r"PYTHONPATH=\S+ papermill .*figure2\.log 2>&1", printed)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    subprocess.run(command, check=True, shell=True, cwd=tmp_path, env=environment)
    assert (tmp_path / "results/007/figures/figure2.svg").exists()
    cells = json.loads((tmp_path / "results/007/logs/figure2.ipynb").read_text())["cells"]
    (injected,) = [cell for cell in cells if "injected-parameters" in cell["metadata"]["tags"]]
    assert 'experiment = "007"' in "".join(injected["source"])
