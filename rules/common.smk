# Shared by all rules: the validated config, the grid, paths, and how a script is called.
# Reads the config files; makes nothing.
import gc
import json
import os
import re
import shlex
import sys
from pathlib import Path

# All that Snakemake has imported lives as long as the process. Searching it for garbage would take a
# sixth of a dry run.
gc.freeze()

# The folder of the Snakefile, wherever results go (--directory). Relative, because Snakemake
# compares input paths and a checkout may move.
HERE = Path(os.path.relpath(workflow.basedir))
sys.path.insert(0, str(Path(workflow.basedir, "scripts")))

from underspec import grid
from underspec.analysis.parts import GIVEN, OF_EVIDENCE, missing, parts, possible
from underspec.cheaper_ensembles import (
    Warm,
    by_job,
    cheaper_ensembles,
    dropout_members,
    folders,
)
from underspec.config.derived import aligned_rankers, every_ranker, need, recipe, text_world
from underspec.config.judge import GOLD_JUDGE
from underspec.config.layers import read_config
from underspec.config.sources import (
    cells,
    checkpoint_of,
    finished_of,
    pretrained_checkpoints,
)
from underspec.config.validation import validate
from underspec.data import gold_raters, styles
from underspec.data.worlds import world_class
from underspec.errors import UserError
from underspec.provenance.fingerprint import fingerprint

# Read the config again: Snakemake's own reader does not know `extends`, silently drops duplicate
# keys, and leaves numbers given by --config as text.
try:
    config = validate(
        read_config(
            Path(workflow.basedir),
            *workflow.overwrite_configfiles,
            given=workflow.config_settings.config,
        )
    )
except UserError as error:
    raise WorkflowError(f"config: {error}")
if config["bundle"]:
    config["experiment"] += "-bundle"  # never overwrites results that were trained here

# If Snakemake is called by its path and its environment is not activated, jobs still use its
# Python.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.getenv("PATH")]))

RESULTS = f"results/{config['experiment']}"
SCALES = config["scales"]
REWARD_MODELS = grid.reward_models(
    config["grid"], config["pretrain_seeds"], config["finetune_seeds"]
)
NAMES = [model.name for model in REWARD_MODELS]
EVERY_RANKER = every_ranker(config)
RANKERS = [
    ranker.name
    for ranker in grid.rankers(REWARD_MODELS, config["aggregators"], config["ensemble_size"])
]
WORLD = world_class(config["world"])
TEXT_WORLD = text_world(config)
SHARDS = range(config["pretraining"]["shards"])
JUDGED = config["reward"] != "preference"  # reward models learn from single statements
LABELLED = f"{RESULTS}/data/{'judgements' if JUDGED else 'preferences'}.parquet"
# The figure, and the table of its name, that only this kind of reward has.
OF_REWARD = {"preference": [], "pointwise": ["reliability"], "rating": ["people"]}
RATER = gold_raters.rater_of(config["world"], config["reward"])
OF_OUR_OWN = [part for part in GIVEN if part != "gold" or gold_raters.exists(RATER)] + ["metrics"]
if config["styles"]["posts"] and "gold" in OF_OUR_OWN and config["world"] in styles.worlds():
    OF_OUR_OWN.append("styles")
HAS = parts(config["matrix"]["has"] if config["matrix"] else OF_OUR_OWN, REWARD_MODELS)
HAS_GOLD, HAS_EVALUATOR, STYLED = (part in HAS for part in ("gold", "evaluator", "styles"))
EVALUATOR = grid.evaluator(**config["evaluator"])
WORDS = config["words"] or {}
CHEAPER = cheaper_ensembles(
    config["cheaper_ensembles"], config["finetune_seeds"], config["ensemble_size"]
)
CHEAPER_JOBS = by_job(CHEAPER)
CHEAPER_TABLES = [f"{scale}/{name}" for scale in SCALES for each in CHEAPER for name in each.tables]
# Tables of texts in several styles, below style_scores/: of the grid and cheaper ensembles of each
# scale, and the evaluator.
STYLES = f"{RESULTS}/data/styles.parquet" if STYLED else []
STYLE_SCORES = expand("{scale}/{table}", scale=SCALES, table=["grid", *CHEAPER_JOBS])
STYLE_SCORES = [*STYLE_SCORES, EVALUATOR] if STYLED else []
ALIGNED_TO = "{scale}/{ranker}"
ALIGNED = f"{ALIGNED_TO}/kl{{kl}}-seed{{seed}}"
ALIGNMENTS = grid.alignments(
    aligned_rankers(config), config["rlhf"]["kl_coefficients"], config["rlhf"]["seeds"]
)
RLHF_SCALES = list(dict.fromkeys(each.scale for each in ALIGNMENTS))
ALIGNED_TO_CHEAPER = any(each.ranker not in RANKERS for each in ALIGNMENTS)
# Names below reward_models/, and of the tables below scores/.
REWARD_MODEL_FOLDERS = [
    *expand("{scale}/{name}", scale=SCALES, name=NAMES),
    *(f"{scale}/{name}" for scale in SCALES for each in CHEAPER for name in each.folders),
    *[EVALUATOR] * HAS_EVALUATOR,
]
SCORES = [
    *expand("{scale}/{name}", scale=SCALES, name=NAMES),
    *CHEAPER_TABLES,
    *[EVALUATOR] * HAS_EVALUATOR,
    *["gold"] * HAS_GOLD,
]
# What tables and claims need to know of the design.
DESIGN = {
    key: config[key]
    for key in (
        "scales",
        "grid",
        "pretrain_seeds",
        "finetune_seeds",
        "aggregators",
        "ensemble_size",
        "best_of_n",
    )
}
DESIGN_OF_A_SCALE = {key: value for key, value in DESIGN.items() if key != "scales"}
TRAIN = "../envs/train.yaml"
ANALYSIS = "../envs/analysis.yaml"


wildcard_constraints:
    world="|".join({config["world"]: 0, TEXT_WORLD: 0}),
    shard=r"\d+",
    scale="|".join(map(re.escape, dict.fromkeys([*config["models"], *SCALES]))),
    split="preferences|validation|best_of_n",
    pretrain_seed=r"\d+",
    finetune_seed=r"\d+",
    head_seed=r"\d+",
    heads=r"\d+",


def made(path):
    """The path of an artifact of this experiment."""
    return f"{RESULTS}/{path}"


ALIGNED_TABLES = expand(
    made("{kind}/aligned/{policy.name}.parquet"),
    kind=["samples", "scores", "diagnostics"],
    policy=ALIGNMENTS,
)


def code(script, *modules):
    """A digest of the code that a script runs; comments and docstrings do not change it."""
    scripts = HERE / "scripts"
    return fingerprint(scripts, *(scripts / f"{name}.py" for name in (script, *modules)))


def world_code(script, package="worlds", world=config["world"]):
    return code(script, f"underspec/data/{package}/{world}")


def as_options(values):
    """Command-line options of a script: text unchanged, everything else as JSON."""
    return " ".join(
        f"--{name} {shlex.quote(value if isinstance(value, str) else json.dumps(value))}"
        for name, value in values.items()
    )


def call(script):
    """A param: the path of a script, and the named inputs and outputs as options of the same names.
    A single output needs no name: it becomes `--output`. Empty inputs are left out.
    """

    def param(wildcards, input, output):
        single = {"output": output[0]} if len(output) == 1 else {}
        named = dict(input.items()) | (dict(output.items()) or single)
        options = {
            name: path if isinstance(path, str) else list(path)
            for name, path in named.items()
            if path
        }
        return f"{shlex.quote(shipped(f'scripts/{script}.py'))} {as_options(options)}".rstrip()

    return param


def settings(*names, **values):
    """A param: options from the config and the wildcards. `names` are wildcards to pass on;
    `values` may be functions of the wildcards.

    The `call` and the settings must be two params: Snakemake does not compare params whose functions take
    inputs or outputs, so in a single param a changed setting would rerun nothing. The result may
    contain braces because a function returns it.
    """

    def param(wildcards):
        of_wildcards = {name: wildcards[name] for name in names}
        return as_options(
            of_wildcards
            | {
                name: value(wildcards) if callable(value) else value
                for name, value in values.items()
            }
        )

    return param


def library(wildcards, input):
    """A param: the folder from which notebooks import the library."""
    return shipped("scripts")


def output_stem(wildcards, output):
    """A param: the path of the first output without its suffix."""
    return str(Path(output[0]).with_suffix(""))


def checkpoints(wildcards, output):
    """A param: the folder of a training's checkpoints. It is outside the job's output because
    Snakemake deletes that when a job fails.
    """
    return made(f"checkpoints/{Path(output[0]).relative_to(RESULTS)}")


def world_options(*keys, world=config["world"]):
    """The options of a world; if keys are given, only those."""
    options = config["worlds"][world]
    return {key: options[key] for key in keys} if keys else options


def fetch_options(wildcards):
    return world_options(*world_class(wildcards.world).fetch_options, world=wildcards.world)


def raw(world=config["world"]):
    """A world's raw files, if it downloads any."""
    return made(f"data/raw/{world}") if world_class(world).downloads else []


def pretraining_tokens():
    return expand(made("data/pretraining/{shard}.npy"), shard=SHARDS)


def shape_of(scale=None):
    """The shape of a scale; by default, of the scale in the wildcards."""
    return lambda wildcards: config["models"][scale or scale_of(wildcards)]["shape"]


def architecture_of(scale=None):
    """The architecture of a scale, with its settings; by default, of the scale in the wildcards."""

    def chosen(wildcards):
        model = config["models"][scale or scale_of(wildcards)]
        return {
            "name": model.get("architecture", "t5"),
            "shape": model.get("shape"),
            "template": model.get("template"),
        }

    return chosen


def model_code(script, *scales):
    """As `code`, with the architecture of the scale in the wildcards and those of `scales`."""

    def digest(wildcards):
        names = {architecture_of(scale)(wildcards)["name"] for scale in (None, *scales)}
        return code(script, *(f"underspec/architectures/{name}" for name in sorted(names)))

    return digest


def seeds_of(wildcards):
    """The pretraining and the finetuning seed of a finished reward model."""
    return re.findall(r"\d+", Path(wildcards.imported).name)


def recipe_of(*place):
    """The recipe under these config keys; `{scale}` stands for the scale in the wildcards."""
    return lambda wildcards: recipe(
        config, *(key.format(**dict(wildcards.items())) for key in place)
    )


def pretrained(scale, pretrain_seed):
    return made(f"pretrain/{scale}/seed{pretrain_seed}")


def pretrained_folder():
    folder = directory(made("pretrain/{scale}/seed{pretrain_seed}"))
    return protected(folder) if config["protect_pretrained"] else folder


def compared_samples():
    """The samples that the simulated rater compares, where there are no labels of other texts."""
    splits = [] if WORLD.has_preferences or JUDGED else ["preferences", "validation"]
    return expand(made("samples/{split}.parquet"), split=splits)


def models_of_ranker(wildcards):
    """The folders of the reward models of the ranker in the wildcards."""
    names = folders(EVERY_RANKER[wildcards.ranker])
    return [made(f"reward_models/{wildcards.scale}/{name}") for name in names]


def dropout_of_ranker(wildcards):
    """How many members of MC dropout the ranker in the wildcards has; 0 if it has none."""
    return dropout_members(EVERY_RANKER[wildcards.ranker])


def of_ranker(folder, suffix=".parquet"):
    """The artifacts in `folder` of all policies that are aligned to the ranker in the wildcards."""
    rlhf = config["rlhf"]
    return expand(
        made(f"{folder}/{ALIGNED_TO}/kl{{kl:g}}-seed{{seed}}{suffix}"),
        kl=rlhf["kl_coefficients"],
        seed=rlhf["seeds"],
        allow_missing=True,
    )


def figure(name):
    return expand(made("figures/{name}.{suffix}"), name=name, suffix=["svg", "pdf"])


def table1_files():
    return expand(made("tables/{file}"), file=["table1.csv", "table1.tex", "table1.html"])


def shipped(path):
    """A file of the checkout."""
    return str(HERE / path)


def template(name):
    return shipped(f"reports/pages/{name}.html")


PAGE_PARTS = [shipped("reports/pages/base.html"), shipped("reports/pages/style.css")]


def page(name, category, title):
    """A page as an item of the report.

    Items have a single label. With two labels, the report adds a switch for a category with two
    values of the second, and fails if an item lacks one of them.
    """
    return report(
        made(f"report/{name}.html"),
        caption=f"../reports/captions/{name}.rst",
        category=category,
        labels={"item": title},
    )
