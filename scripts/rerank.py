import logging
from pathlib import Path

from underspec import grid as grids
from underspec.analysis.rerank import rerank as choose
from underspec.analysis.rerank import to_table
from underspec.analysis.reward_matrix import read_rewards
from underspec.artifacts import RERANK, write_table
from underspec.command import command
from underspec.config import sections
from underspec.errors import ArtifactError

log = logging.getLogger("underspec.rerank")


def rerank(
    *,
    scores: list[Path],
    grid: sections.Grid,
    pretrain_seeds: sections.Seeds,
    finetune_seeds: sections.Seeds,
    aggregators: sections.Aggregators,
    ensemble_size: sections.EnsembleSize,
    best_of_n: sections.BestOfN,
    choices: list[Path],
) -> None:
    """Read the scores of one scale, and write what each ranker picks to the file of its name."""
    models = grids.reward_models(grid, pretrain_seeds, finetune_seeds)
    missing = {model.name for model in models} - {path.stem for path in scores}
    if missing:
        raise ArtifactError(f"--scores: none given for {', '.join(sorted(missing))}")
    layout, rewards = read_rewards(scores)
    by_name = dict(zip((path.stem for path in scores), rewards, strict=True))
    rankers = grids.rankers(models, aggregators, ensemble_size)
    log_sizes(rankers)
    chosen = choose(by_name, rankers, best_of_n)
    for path in choices:
        table = to_table(chosen[path.stem], layout.post_ids, best_of_n)
        write_table(table, path, RERANK)


def log_sizes(rankers: list[grids.Ranker]) -> None:
    """Log how many ensembles of how many members there are; warn if that differs by kind."""
    sizes = grids.ensemble_sizes(rankers)
    for kind, size in sizes.items():
        ensembles = {ranker.members for ranker in rankers if ranker.ensemble == kind}
        log.info("%s ensembles: %d of %d members", kind, len(ensembles), size)
    if len(set(sizes.values())) > 1:
        log.warning(
            "%s: not compared at equal size; set ensemble_size: %d for that",
            " and ".join(f"{kind} ensembles have {size} members" for kind, size in sizes.items()),
            min(sizes.values()),
        )


if __name__ == "__main__":
    command(rerank)
