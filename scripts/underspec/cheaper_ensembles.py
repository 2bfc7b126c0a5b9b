"""Cheaper ensembles of one pretrained checkpoint, beside the grid: WARM, multi-head, MC dropout.

The first two have as many members as a finetune ensemble. Their reward models rank but judge no
others: no finetuning seed draws them. Names are those of folders below reward_models/{scale}/, and
of tables below scores/{scale}/.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from underspec.grid import Ranker, RewardModel

# Of the tables below scores/{scale}/.
TABLES = r"pretrain\d+-warm|pretrain\d+-finetune\d+-(heads\d+-\d+|dropout\d+)"


@dataclass(frozen=True)
class Member:
    """A reward model of a cheaper ensemble; its name is that of its table."""

    pretrain_seed: int
    name: str


@dataclass(frozen=True)
class Warm:
    """One reward model whose weights are the average of its members' (Ramé et al., 2401.12187).

    All members start from the same head, that of the first finetuning seed. So the first is one of
    the grid, and the others are trained for this.
    """

    pretrain_seed: int
    finetune_seeds: tuple[int, ...]

    passes = 1  # over the samples, to score them

    @property
    def folder(self) -> str:
        return f"pretrain{self.pretrain_seed}-warm"

    @property
    def tables(self) -> list[str]:
        return [self.folder]

    @property
    def ensembles(self) -> dict[str, list[str]]:
        """The tables of each ensemble, by its kind."""
        return {"warm": self.tables}

    @property
    def members(self) -> list[str]:
        """The folders of the reward models that are averaged."""
        first, *others = self.finetune_seeds
        grid_s = RewardModel(self.pretrain_seed, first).name
        return [grid_s, *(f"pretrain{self.pretrain_seed}-finetune{f}-head{first}" for f in others)]

    @property
    def folders(self) -> list[str]:
        """All that are not the grid's."""
        return [*self.members[1:], self.folder]


@dataclass(frozen=True)
class Multihead:
    """A reward model with several heads (Ahmed et al., 2406.01013), each of which starts from
    weights of its own."""

    pretrain_seed: int
    finetune_seeds: tuple[int, ...]

    passes = 1

    @property
    def folder(self) -> str:
        of_grid = RewardModel(self.pretrain_seed, self.finetune_seeds[0]).name
        return f"{of_grid}-heads{len(self.finetune_seeds)}"

    @property
    def tables(self) -> list[str]:
        return [f"{self.folder}-{head}" for head in range(len(self.finetune_seeds))]

    @property
    def ensembles(self) -> dict[str, list[str]]:
        return {"multihead": self.tables}

    @property
    def folders(self) -> list[str]:
        return [self.folder]


@dataclass(frozen=True)
class McDropout:
    """The reward model of the grid with the first finetuning seed, with some features dropped: one
    member for each draw of them (see `models.mc_dropout`). The first so many of them, for each of
    `sizes`, are an ensemble."""

    pretrain_seed: int
    finetune_seed: int
    sizes: tuple[int, ...]

    @property
    def passes(self) -> int:
        return max(self.sizes)

    @property
    def folder(self) -> str:
        return RewardModel(self.pretrain_seed, self.finetune_seed).name

    @property
    def tables(self) -> list[str]:
        return [f"{self.folder}-dropout{member}" for member in range(self.passes)]

    @property
    def folders(self) -> list[str]:
        return []

    @property
    def ensembles(self) -> dict[str, list[str]]:
        return {f"mc_dropout{size}": self.tables[:size] for size in self.sizes}


CheaperEnsemble = Warm | Multihead | McDropout


def cheaper_ensembles(
    chosen: Mapping, finetune_seeds: list[int], ensemble_size: int
) -> list[CheaperEnsemble]:
    """The cheaper ensembles of one scale. `chosen` has the pretraining seeds of each kind, and how
    many members MC dropout has."""
    seeds = tuple(finetune_seeds[:ensemble_size])
    dropout = chosen["mc_dropout"]
    sizes = tuple(dropout["members"])
    return [
        *(Warm(checkpoint, seeds) for checkpoint in chosen["warm"]),
        *(Multihead(checkpoint, seeds) for checkpoint in chosen["multihead"]),
        *(McDropout(checkpoint, seeds[0], sizes) for checkpoint in dropout["pretrain_seeds"]),
    ]


def by_job(ensembles: list[CheaperEnsemble]) -> dict[str, list[CheaperEnsemble]]:
    """Those whose texts one job scores, by the name of its tables: MC dropout scores otherwise."""
    dropout = [each for each in ensembles if isinstance(each, McDropout)]
    others = [each for each in ensembles if each not in dropout]
    jobs = {"cheaper_ensembles": others, "mc_dropout": dropout}
    return {name: of_job for name, of_job in jobs.items() if of_job}


def rankers(ensembles: list[CheaperEnsemble], aggregators: list[str]) -> list[Ranker]:
    """The rankers that cheaper ensembles are: WARM is a single reward model."""
    found = []
    for each in ensembles:
        for kind, tables in each.ensembles.items():
            name = f"{kind}-pretrain{each.pretrain_seed}"
            members = tuple(Member(each.pretrain_seed, table) for table in tables)
            if len(members) == 1:
                found.append(Ranker(name, kind, None, members))
            else:
                found += [Ranker(f"{name}-{how}", kind, how, members) for how in aggregators]
    return found


def has_log(folder: str) -> bool:
    """Whether a reward model was trained, rather than averaged."""
    return not folder.endswith("-warm")


def folder(table: str) -> str:
    """The folder of the reward model that made a score table."""
    return re.sub(r"(-heads\d+)-\d+$|-dropout\d+$", r"\1", table)


def folders(ranker: Ranker) -> list[str]:
    """Of the reward models whose heads, or whose passes with dropout, are the ranker's members."""
    return list(dict.fromkeys(folder(member.name) for member in ranker.members))


def dropout_members(ranker: Ranker) -> int:
    """How many members of MC dropout a ranker has: none, or all."""
    return sum(re.search(r"-dropout\d+$", member.name) is not None for member in ranker.members)
