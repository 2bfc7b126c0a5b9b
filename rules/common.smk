# Shared by all rules: the checked config, the grid, where things are, and how a script is called.
# Reads the files of the config; makes nothing.
import json
import os
import re
import shlex
import sys
from pathlib import Path

# Beside the Snakefile, wherever the results go (--directory). Relative, because Snakemake compares
# the paths of inputs, and a checkout may move.
HERE = Path(os.path.relpath(workflow.basedir))
SCRIPTS = shlex.quote(str(HERE / "scripts"))
sys.path.insert(0, str(Path(workflow.basedir, "scripts")))

from underspec import grid
from underspec.data import gold_raters
from underspec.config.config import need, read_config, recipe, text_world, validate
from underspec.errors import UserError
from underspec.provenance.fingerprint import fingerprint
from underspec.config.sources import checkpoint_of, pretrains
from underspec.data.worlds import world_class

# Read once more: Snakemake's own reading knows no `extends`, drops a key that stands twice, and
# leaves the numbers of --config as text.
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
    config["experiment"] += "-bundle"  # what was trained here is never written over

# Snakemake called by its path, from an environment that is not activated, runs its own Python.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.getenv("PATH")]))

RESULTS = f"results/{config['experiment']}"
SCALES = config["scales"]
REWARD_MODELS = grid.reward_models(
    config["grid"], config["pretrain_seeds"], config["finetune_seeds"]
)
NAMES = [model.name for model in REWARD_MODELS]
RANKERS = [ranker.name for ranker in grid.rankers(REWARD_MODELS, config["aggregators"])]
WORLD = world_class(config["world"])
TEXT_WORLD = text_world(config)
SHARDS = range(config["pretraining"]["shards"])
HAS_GOLD = gold_raters.exists(config["world"])
SCORES = [*expand("{scale}/{name}", scale=SCALES, name=NAMES), "evaluator"] + ["gold"] * HAS_GOLD
TRAIN = "../envs/train.yaml"
ANALYSIS = "../envs/analysis.yaml"


wildcard_constraints:
    world="|".join({config["world"]: 0, TEXT_WORLD: 0}),
    shard=r"\d+",
    scale="|".join(map(re.escape, config["models"])),
    split="preferences|validation|best_of_n",
    pretrain_seed=r"\d+",
    finetune_seed=r"\d+",


def made(path):
    """Where an artifact of this experiment is."""
    return f"{RESULTS}/{path}"


def code(script, *modules):
    """A digest of what a script runs; comments and docstrings do not change it."""
    scripts = HERE / "scripts"
    return fingerprint(scripts, *(scripts / f"{name}.py" for name in (script, *modules)))


def world_code(script, package="worlds", world=config["world"]):
    return code(script, f"underspec/data/{package}/{world}")


def as_options(values):
    """Options of a script: text as it is, everything else as JSON."""
    return " ".join(
        f"--{name} {shlex.quote(value if isinstance(value, str) else json.dumps(value))}"
        for name, value in values.items()
    )


def paths(wildcards, input, output):
    """A param: the named inputs and outputs as options of the same names. A single output needs no
    name: it is `--output`. What there is none of is left out.
    """
    single = {"output": output[0]} if len(output) == 1 else {}
    named = dict(input.items()) | (dict(output.items()) or single)
    return as_options(
        {
            name: path if isinstance(path, str) else list(path)
            for name, path in named.items()
            if path
        }
    )


def settings(*names, **values):
    """A param: options that follow from the config and from the wildcards, those of `names` and
    whatever functions of the wildcards make of them.

    It is a param beside `paths`, because Snakemake does not compare params whose functions take
    inputs or outputs: in one, a changed setting would rerun nothing. As a function's result, it may
    hold braces.
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


def checkpoints(wildcards, output):
    """A param: where a training's checkpoints are. Outside of its output, which Snakemake deletes
    when a job fails.
    """
    return made(f"checkpoints/{Path(output[0]).relative_to(RESULTS)}")


def world_options(*keys, world=config["world"]):
    """The options of a world; only those named, if any is."""
    options = config["worlds"][world]
    return {key: options[key] for key in keys} if keys else options


def fetch_options(wildcards):
    return world_options(*world_class(wildcards.world).fetch_options, world=wildcards.world)


def raw(world=config["world"]):
    """A world's raw files, if it has any."""
    return made(f"data/raw/{world}") if world_class(world).downloads else []


def pretraining_tokens():
    return expand(made("data/pretraining/{shard}.npy"), shard=SHARDS)


def shape_of(scale=None):
    """The shape of a scale; of the one that the wildcard names, if none is given."""
    return lambda wildcards: config["models"][scale or scale_of(wildcards)]["shape"]


def recipe_of(*place):
    """A recipe; `{scale}` in its place is what the wildcard names."""
    return lambda wildcards: recipe(
        config, *(key.format(**dict(wildcards.items())) for key in place)
    )


def pretrained(scale, pretrain_seed):
    return made(f"pretrain/{scale}/seed{pretrain_seed}")


def pretrain_folder():
    folder = directory(made("pretrain/{scale}/seed{pretrain_seed}"))
    return protected(folder) if config["protect_pretrains"] else folder


def compared_samples():
    """The samples that a simulated rater compares, in a world without human preferences."""
    splits = [] if WORLD.has_preferences else ["preferences", "validation"]
    return expand(made("samples/{split}.parquet"), split=splits)


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

    Items have one label alone: of two, the report makes a switch where a category has two values of
    the second, and ends in an error where an item lacks one of them.
    """
    return report(
        made(f"report/{name}.html"),
        caption=f"../reports/captions/{name}.rst",
        category=category,
        labels={"item": title},
    )
