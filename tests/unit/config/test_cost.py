"""What an experiment costs, against the figures known for T5."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from transformers import BertConfig, BertModel, GPTNeoXConfig, GPTNeoXModel

from underspec.config.estimate import judge_cost, sizes, stages
from underspec.config.layers import read_config
from underspec.config.validation import validate
from underspec.models.operations import corrupted, forward, forward_joined, parameters
from underspec.models.t5 import new_t5
from underspec.models.t5 import parameters as counted

ROOT = Path(__file__).parents[3]
MINIATURE = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
POSTS = {"policy": 3000, "preferences": 12000, "validation": 2000, "best_of_n": 300}
T5 = {"input_length": 512, "noise_density": 0.15, "mean_span_length": 3.0}
VOCABULARY = 32128


def test_pointwise_rewards_need_no_samples_to_compare_and_one_candidate_a_row():
    config = validate(MINIATURE)
    compared, judged = (
        {(stage.stage, stage.scale): stage for stage in stages(config | {"reward": reward}, POSTS)}
        for reward in ("preference", "pointwise")
    )
    assert {stage for stage, _ in compared.keys() - judged.keys()} == {
        "sample preferences",
        "sample validation",
    }
    assert not judged.keys() - compared.keys()
    pairs, judgements = (each["reward_model", "xl"] for each in (compared, judged))
    assert judgements.operations < pairs.operations
    assert "judgements" in judgements.arithmetic and "pairs" in pairs.arithmetic


def shape(width, inner, heads, key, layers, version="v1.0"):
    names = ("d_model", "d_ff", "num_heads", "d_kv", "num_layers")
    return {
        "version": version,
        **dict(zip(names, (width, inner, heads, key, layers), strict=True)),
    }


SHAPES = {
    "base": shape(768, 3072, 12, 64, 12),
    "large": shape(1024, 4096, 16, 64, 24),
    "xl": shape(1024, 16384, 32, 128, 24),
}


@pytest.mark.parametrize("version", ["v1.0", "v1.1"])
def test_parameters_are_those_of_the_model(version):
    small = shape(16, 40, 2, 4, 3, version)
    assert parameters(small, 150) == counted(new_t5(small, 150, 0))


@pytest.mark.parametrize(("scale", "million"), [("base", 223), ("large", 738), ("xl", 2852)])
def test_published_sizes(scale, million):
    assert parameters(SHAPES[scale], VOCABULARY) / 1e6 == pytest.approx(million, abs=0.6)


@pytest.mark.parametrize(("scale", "gigaflop"), [("base", 0.83), ("large", 2.8), ("xl", 11.1)])
def test_operations_of_a_training_token(scale, gigaflop):
    """The known figures, an encoder token at 512 / 114, to their last digit."""
    assert corrupted(T5) == (512, 114)
    found = 3 * forward(SHAPES[scale], VOCABULARY, 512, 114) / 512 / 1e9
    assert found == pytest.approx(gigaflop, rel=0.01)


def test_fifteen_pretrained_checkpoints_cost_what_is_known():
    """5 + 5 + 5 checkpoints of a trillion tokens: some 68,000 GPU-hours at 40 % of 756 TFLOP/s (an
    H100 of the PCIe kind), of seven billion some 455: both to 5 %.
    """
    token = sum(3 * forward(each, VOCABULARY, 512, 114) / 512 for each in SHAPES.values())
    hours = 5 * token / (0.4 * 756e12) / 3600
    assert hours * 1e12 == pytest.approx(68_000, rel=0.05)
    assert hours * 7e9 == pytest.approx(455, rel=0.05)


def test_matrix_products_are_counted_as_pytorch_counts_them():
    """Of a forward pass with one summary, without the head: to 1 % (PyTorch counts no biases)."""
    from torch.utils.flop_counter import FlopCounterMode

    small = shape(32, 64, 4, 8, 2)
    model = new_t5(small, 150, 0).eval()
    ids = torch.full((1, 48), 5)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=ids, decoder_input_ids=ids[:, :12], use_cache=False)
    assert forward(small, 150, 48, 12) == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("family", ["bert", "neox"])
def test_matrix_products_of_other_families_too(family):
    """Of post and sample as one text: to 3 %, because `body` has norms and biases as well."""
    from torch.utils.flop_counter import FlopCounterMode

    ids = torch.full((1, 48), 5)
    sizes = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 256, "vocab_size": 50, "attn_implementation": "eager"}
    kinds = {"bert": (BertConfig, BertModel), "neox": (GPTNeoXConfig, GPTNeoXModel)}
    config, kind = kinds[family]
    options = {"add_pooling_layer": False} if family == "bert" else {}
    model = kind(config(**sizes), **options).eval()
    embeddings = model.embeddings if family == "bert" else model.embed_in
    body = counted(model) - counted(embeddings)
    size = {"layers": 3, "width": 64, "body": body}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=ids)
    assert forward_joined(size, 36, 12) == pytest.approx(counter.get_total_flops(), rel=0.03)


def test_a_shared_post_is_read_once():
    size = {"layers": 3, "width": 64, "body": 10**6}
    one, many, shared = (
        forward_joined(size, 500, 10, samples, shared)
        for samples, shared in ((1, False), (64, False), (64, True))
    )
    assert many == 64 * one
    assert shared < many / 20  # of 510 tokens a sample, ten are its own
    assert forward_joined(size, 500, 10, 1, True) == pytest.approx(one, rel=0.02)


def of_experiment(name):
    config = validate(read_config(ROOT, ROOT / f"experiments/{name}.yaml"))
    every = stages(config, {"policy": 100_000, "best_of_n": 1000})
    return config, {(stage.stage, stage.scale): stage for stage in every}


def test_the_experiment_on_pythias():
    """As many reward models at each size; a larger one costs more; sizes are the published ones
    (without the head of the language model, which has as many parameters as the embedding).
    """
    config, found = of_experiment("pythia")
    scales = config["scales"]
    trained = [found["reward_model", scale] for scale in scales]
    assert {stage.jobs for stage in trained} == {50}
    assert [stage.operations for stage in trained] == sorted(stage.operations for stage in trained)
    total = [sizes(config)[scale] + each["embedding"] for scale, each in own_sizes(config)]
    assert total == [14_067_712, 30_494_720, 70_426_624, 162_322_944, 405_334_016]
    assert not {stage for stage, _ in found} & {"pretrain", "tokens", "align"}


def own_sizes(config):
    return config["estimate"]["sizes"].items()


def test_encoders_read_a_post_with_every_sample():
    config, found = of_experiment("multiberts")
    assert found["reward_model", "bert"].jobs == 100 and config["estimate"]["sizes"]["bert"]
    of_a_model = found["score", "bert"].operations / 100
    _, of_pythias = of_experiment("pythia")
    assert of_a_model > 5 * of_pythias["score", "160m"].operations / 50  # a body of the same size


def test_finished_reward_models_are_not_trained_and_without_a_size_not_estimated():
    config, found = of_experiment("own_models")
    assert found["import_reward_model", "own"].jobs == 6 and found["score", "own"].operations
    assert not [key for key in found if key[0] == "reward_model"]
    config["estimate"]["sizes"].pop("own")
    assert "own" not in {stage.scale for stage in stages(config, POSTS)}


def test_samples_of_a_post_share_its_encoding():
    small = SHAPES["base"]
    alone = forward(small, 0, 512, 64)
    many = forward(small, 0, 512, 64, 64)
    assert many < 64 * alone / 2


def test_jobs_are_those_of_the_grid():
    jobs = {(stage.stage, stage.scale): stage.jobs for stage in stages(MINIATURE, POSTS)}
    assert [jobs["pretrain", scale] for scale in ("base", "large", "xl", "xxl")] == [5, 6, 5, 1]
    assert [jobs["reward_model", scale] for scale in ("base", "xl", "xxl")] == [9, 9, 1]
    full = copy.deepcopy(MINIATURE) | {"grid": "full"}
    jobs = {(stage.stage, stage.scale): stage.jobs for stage in stages(full, POSTS)}
    assert jobs["reward_model", "base"] == 25


def test_jobs_of_cheaper_ensembles():
    """Four more trainings for an average of five, one for five heads; one model each is scored. MC
    dropout needs no training and 32 passes."""
    chosen = MINIATURE["cheaper_ensembles"] | {"warm": [0, 1], "multihead": [0]}
    found = list(stages(copy.deepcopy(MINIATURE) | {"cheaper_ensembles": chosen}, POSTS))
    jobs = {(stage.stage, stage.scale): stage.jobs for stage in found}
    assert jobs["reward_model", "base"] == 9 + 2 * 4 + 1
    assert (jobs["warm", "base"], jobs["reward_model", "xxl"]) == (2, 1)
    plain = {(stage.stage, stage.scale): stage for stage in stages(MINIATURE, POSTS)}
    assert ("warm", "base") not in plain
    (scored,) = (each for each in found if (each.stage, each.scale) == ("score", "base"))
    assert scored.operations / plain["score", "base"].operations == pytest.approx(12 / 9)
    chosen["mc_dropout"] = {"pretrain_seeds": [0, 1], "members": [32, 8]}
    more = stages(copy.deepcopy(MINIATURE) | {"cheaper_ensembles": chosen}, POSTS)
    more = {(stage.stage, stage.scale): stage for stage in more}
    assert more["reward_model", "base"].jobs == jobs["reward_model", "base"]
    assert more["score", "base"].operations / scored.operations == pytest.approx((12 + 64) / 12)


def test_jobs_of_rlhf():
    """A policy for each ranker, coefficient and seed. A larger ensemble costs more."""
    config = copy.deepcopy(MINIATURE)
    rankers = [
        "single-pretrain10-finetune10",
        "pretrain-finetune10-mean",
        "pretrain-finetune10-min",
    ]
    config["rlhf"] |= {"rankers": {"large": rankers, "xl": []}, "seeds": [0, 1]}
    validate(config)
    found = [stage for stage in stages(config, POSTS) if "align" in stage.stage]
    assert [(each.stage, each.scale, each.jobs) for each in found] == [
        ("align", "large", 1 * 3 * 2),
        ("align", "large", 2 * 3 * 2),
        ("sample aligned", "large", 3),
        ("score aligned", "large", 3),
    ]
    single, ensemble, *_ = (each.operations for each in found)
    assert single < ensemble < 5 * single
    config["rlhf"]["samples"] *= 2
    (more, *_) = (each for each in stages(config, POSTS) if each.stage == "align")
    assert single < more.operations < 2 * single
    config["rlhf"]["rankers"]["large"] = []
    assert not [each for each in stages(config, POSTS) if "align" in each.stage]


def test_alignment_to_cheaper_ensembles_costs_their_passes():
    """8 of MC dropout; WARM is a single reward model, and heads share their passes. Scored are they
    beside the 9 reward models of the grid and the evaluator."""
    config = copy.deepcopy(MINIATURE)
    config["recipe"]["dropout"] = 0.1
    mc_dropout = {"pretrain_seeds": [10], "members": [8]}
    config["cheaper_ensembles"] = {"warm": [10], "multihead": [10], "mc_dropout": mc_dropout}

    def cost(*names):
        config["rlhf"]["rankers"] = {"base": [*names]}
        validate(config)
        found = list(stages(config, POSTS))
        return [
            sum(each.jobs * each.operations for each in found if each.stage == stage)
            for stage in ("align", "score aligned")
        ]

    single, scored = cost("single-pretrain10-finetune10")
    pair, _ = cost("pretrain-finetune10-mean")
    members = 5
    each = (pair - single) / (members - 1)
    dropout, with_dropout = cost("mc_dropout8-pretrain10-mean")
    assert dropout == pytest.approx(single + 7 * each)
    for name in ("warm-pretrain10", "multihead-pretrain10-mean"):
        assert cost(name)[0] == pytest.approx(single)
        assert (with_dropout - scored) / (cost(name)[1] - scored) == pytest.approx(8)
    both = cost("mc_dropout8-pretrain10-mean", "single-pretrain10-finetune10")
    assert both == pytest.approx([dropout + single, with_dropout + scored])


def test_what_is_imported_is_not_trained():
    config = copy.deepcopy(MINIATURE)
    config["pretrain"]["checkpoints"] = {"xxl": {"source": "hub", "path": "some/t5"}}
    validate(config)
    trained = {stage.scale for stage in stages(config, POSTS) if stage.stage == "pretrain"}
    assert trained == {"base", "large", "xl"}


def test_the_command_prints_a_line_a_stage_and_the_sum(tmp_path):
    output = tmp_path / "estimate.csv"
    done = subprocess.run(
        [sys.executable, "scripts/estimate.py", "--output", output],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = output.read_text().splitlines()
    assert len(lines) == 1 + len(list(stages(MINIATURE, POSTS)))
    assert all(line.split(",")[0] in done.stdout for line in lines[1:])
    assert " jobs on GPUs and " in done.stdout


def test_a_judge_is_asked_about_every_pair_in_both_orders(tmp_path):
    """The miniature: five single reward models and an ensemble of each kind against the policy, and
    pretrain ensembles against the finetune ensemble and the five, at three scales; nine policies.
    """
    config = validate(MINIATURE)
    config["judge"] |= {"posts": 7, "answers": 3, "max_tokens": 10}
    cost = judge_cost(config, 300, "x" * 400)
    assert cost.questions == (3 * (5 + 1 + 1 + 1 + 5) + 9) * 7 * 2 * 3
    assert cost.prompt_tokens == cost.questions * (64 + 2 * 40 + 100)
    assert cost.answer_tokens == cost.questions * 10
    assert judge_cost(config, 3, "").questions == cost.questions * 3 // 7
    overlay = tmp_path / "judged.yaml"
    overlay.write_text("experiment: judged\njudge: {url: gold}\n")
    command = [sys.executable, "scripts/estimate.py", "--configfile", overlay]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "judge: 153,600 questions, " in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--configfile"], "--configfile: expected one argument"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
        (["--configfile", "gone.yaml"], "gone.yaml: No such file"),
        (["--configfile", "experiments"], "experiments: Is a directory"),
        (["--output", "Makefile/estimate.csv"], "Makefile: file exists"),
    ],
)
def test_what_cannot_be_estimated_is_one_line(options, said):
    done = subprocess.run(
        [sys.executable, "scripts/estimate.py", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and said in line
