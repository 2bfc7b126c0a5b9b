from pathlib import Path
from typing import Annotated, Unpack

from underspec.analysis import newer_rankers
from underspec.analysis.one_scale import TABLES, OneScale
from underspec.analysis.quantities import to_table
from underspec.analysis.results import ResultFiles, read_results
from underspec.analysis.reward_matrix import read_metrics
from underspec.analysis.styles import read_styled
from underspec.analysis.text_features import read_diagnostics
from underspec.artifacts import EVIDENCE, write_table
from underspec.cheaper_ensembles import by_job, cheaper_ensembles
from underspec.command import command
from underspec.config import sections
from underspec.csv_files import write_csv
from underspec.errors import ConfigError


def evidence(
    *,
    diagnostics: Path,
    evaluator: Path | None = None,
    styled: Path | None = None,
    style_scores: Path | None = None,
    cheaper_style_scores: list[Path] = (),
    evaluator_style_scores: Path | None = None,
    scale: str,
    design: Annotated[dict, sections.Experiment],
    newer: Annotated[dict, sections.NewerRankers],
    cheaper: Annotated[dict, sections.CheaperEnsembles],
    length_bias: sections.LengthBias,
    resamples: sections.Resamples,
    tables: list[str],
    output: Path,
    **files: Unpack[ResultFiles],
) -> None:
    """Write what the claims about one scale rest on: every quantity in every resample of posts and
    seeds, and those of the tables beside the paper's that are named.

    evaluator: its folder, if there is one; styled, style_scores, cheaper_style_scores,
    evaluator_style_scores: tables, if the world has texts in several styles; design: keys of the
    config; newer, cheaper: its newer_rankers and cheaper_ensembles; length_bias: that of the
    simulated rater's labels, 0 where people compare.
    """
    if unknown := [name for name in tables if name not in TABLES]:
        raise ConfigError(f"--tables: {unknown[0]} is unknown; allowed are {', '.join(TABLES)}")
    read = read_results(design=design | {"scales": [scale]}, cheaper=cheaper, **files)
    (results,) = read.scales
    measured = read_diagnostics(diagnostics, read.layout)
    of_styles = None
    if styled:
        models = {style_scores: [model.name for model in results.models]}
        sets = design["finetune_seeds"], design["ensemble_size"]
        jobs = by_job(cheaper_ensembles(cheaper, *sets))
        models |= {
            path: [name for each in jobs[path.stem] for name in each.tables]
            for path in cheaper_style_scores
        }
        of_styles = read_styled(styled, models, evaluator_style_scores)
    one = OneScale(
        results=results,
        metrics=read.metrics,
        diagnostics=measured,
        newer=newer_rankers.read(newer, measured["similarity"]),
        styled=of_styles,
        evaluator_accuracy=(
            read_metrics(evaluator / "metrics.json")["accuracy"] if evaluator else None
        ),
        length_bias=length_bias,
        pretraining_seeds=len(design["pretrain_seeds"]),
        resamples=resamples,
    )
    write_table(to_table(one.quantities), output / "resamples.parquet", EVIDENCE)
    for name in tables:
        write_csv(TABLES[name](one), output / f"{name}.csv")


if __name__ == "__main__":
    command(evidence)
