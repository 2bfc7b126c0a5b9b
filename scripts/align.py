import logging
import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.alignment import rollouts
from underspec.alignment.policy import AlignedPolicy
from underspec.alignment.rewards import RankerReward, bounded, load_members
from underspec.alignment.rloo import rloo
from underspec.analysis.ensembles import AGGREGATORS
from underspec.architectures import architecture_of
from underspec.artifacts import POSTS, of_split, read_table
from underspec.command import command
from underspec.config import sections
from underspec.data.tokenization import encode, load_tokenizer
from underspec.inference.scoring import Scorer
from underspec.models.t5 import load, save
from underspec.random_streams import CENTERING, stream_seed
from underspec.recipe import DeviceLayout, Recipe
from underspec.schema import Name, NotNegative
from underspec.training.loop import train

log = logging.getLogger("underspec.align")

CENTERING_POSTS = 256  # whose samples of the SFT policy center each reward model


def align(
    *,
    posts: Path,
    tokenizer: Path,
    policy: Path,
    reward_models: list[Path],
    shape: Annotated[dict, sections.Shape],
    reward_architecture: Annotated[dict, sections.Architecture],
    lengths: Annotated[dict, sections.Lengths],
    mc_dropout: NotNegative = 0,
    aggregator: str,
    kl_coefficient: sections.KlCoefficient,
    samples: sections.RlhfSamples,
    bounded_reward: sections.Flag,
    recipe: Annotated[dict, sections.Recipe],
    precision: sections.Precision,
    seed: sections.Seed,
    scale: Name,
    ranker: Name,
    checkpoints: Path,
    save_seconds: float,
    device_layout: Annotated[dict, sections.DeviceLayout],
    output: Path,
) -> None:
    """Align the SFT policy to a ranker by RLHF: an aligned policy.

    reward_models: the ranker's, whose rewards the aggregator joins; to a single one it is nothing;
    mc_dropout: if not 0, join so many members of each instead (see `models.mc_dropout`).
    """
    trained = load_tokenizer(tokenizer)
    vocabulary = trained.get_vocab_size()
    table = read_table(posts, POSTS)
    prompts, others = (
        encode(trained, of_split(table, split, posts).post, lengths["post"])
        for split in ("policy", "validation")
    )
    longest = lengths["post"], lengths["summary"] - 1  # reward models read it with an eos
    t5 = load(T5ForConditionalGeneration, policy, shape, vocabulary).eval()
    aligned = AlignedPolicy(t5.config, longest, t5)
    models = architecture_of(tokenizer, reward_architecture)
    members = [
        Scorer(member, (lengths["post"], lengths["summary"]))
        for folder in reward_models
        for member in load_members(models, folder, precision, mc_dropout)
    ]
    reward = RankerReward(members, AGGREGATORS[aggregator], trained, lengths["summary"])
    sft_policy = aligned.frozen().to("cuda" if torch.cuda.is_available() else "cpu")
    centering = others[:CENTERING_POSTS]
    names = [str(i) for i in range(len(centering))]
    drawn, _ = rollouts.draw(
        sft_policy.t5, names, centering, samples, longest, stream_seed(seed, CENTERING)
    )
    reward = reward.centred(centering, drawn)
    constants = np.asarray(reward.constants).ravel()
    log.info("mean reward of the SFT policy by each member: %s", np.round(constants, 3))
    if bounded_reward:
        reward = bounded(reward, sft_policy, stream_seed(seed, CENTERING))
    identity = {
        "reward": [str(folder) for folder in reward_models],
        "means": constants.tolist(),  # of these reward models, and no others of this name
        "aggregator": aggregator,
        "bounded": bounded_reward,
    }
    objective = rloo(
        *(aligned, sft_policy, reward, prompts),
        *(recipe["batch"], samples, kl_coefficient, seed, identity),
    )
    result = train(
        aligned,
        objective,
        Recipe(**recipe),
        seed,
        checkpoints,
        save_seconds,
        DeviceLayout(**device_layout),
    )
    if result is None:  # the first process of this job has it
        return
    model, rows = result
    if rows[-1]["empty"] > 0.5:
        log.warning(
            "%.0f %% of the samples are empty texts at the end: the ranker rewards them",
            100 * rows[-1]["empty"],
        )
    settings = {"kl_coefficient": kl_coefficient, "samples": samples, "recipe": recipe}
    settings |= {"mc_dropout": mc_dropout}
    about = {"stage": "aligned policy", "scale": scale, "ranker": ranker, "seed": seed}
    about |= identity | settings
    save(model.t5, output, rows, about)
    shutil.rmtree(checkpoints, ignore_errors=True)


if __name__ == "__main__":
    command(align)
