from pathlib import Path

from underspec import grid as grids
from underspec.analysis.rerank import rerank as choose
from underspec.analysis.rerank import to_table
from underspec.analysis.reward_matrix import read_rewards
from underspec.artifacts import RERANK, write_table
from underspec.command import command
from underspec.config import sections
from underspec.errors import ArtifactError


def rerank(
    *,
    scores: list[Path],
    grid: sections.Grid,
    pretrain_seeds: sections.Seeds,
    finetune_seeds: sections.Seeds,
    aggregators: sections.Aggregators,
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
    chosen = choose(by_name, grids.rankers(models, aggregators), best_of_n)
    for path in choices:
        table = to_table(chosen[path.stem], layout.post_ids, best_of_n)
        write_table(table, path, RERANK)


if __name__ == "__main__":
    command(rerank)
