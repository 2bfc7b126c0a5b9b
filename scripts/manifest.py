import json
from pathlib import Path

import yaml

from underspec.command import command
from underspec.csv_files import read_csv
from underspec.provenance import manifest as run
from underspec.report.pages import write_page

ROOT = Path(__file__).parents[1]


def manifest(
    *,
    config: dict,
    environments: list[Path],
    checksums: Path,
    benchmarks: Path,
    experiment: str,
    template: Path,
    page: Path,
    merged_config: Path,
    manifest: Path,
) -> None:
    """Write down with what an experiment was made: as JSON, as a page, and its merged config.

    environments: requirement files whose packages are looked up; checksums: of the files made;
    benchmarks: the folder of Snakemake's. All else is found out here and now.
    """
    packages = run.pinned(path.read_text() for path in environments)
    made = run.manifest(
        config=config,
        packages=run.versions(packages),
        machine=run.this_machine(),
        code=run.checkout(ROOT),
        files=read_csv(checksums).to_dict("records"),
        stages=run.by_stage(run.read_benchmarks(benchmarks)),
    )
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    merged_config.write_text(text, encoding="utf-8")
    write_page(template, page, run=made, config=text, face=experiment)
    manifest.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command(manifest)
