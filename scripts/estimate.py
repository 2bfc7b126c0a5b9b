import sys
from pathlib import Path

import pandas as pd

from underspec.command import arguments, file_errors_explained
from underspec.config.derived import text_world
from underspec.config.estimate import judge_cost, sizes, stages
from underspec.config.layers import read_config
from underspec.config.validation import validate
from underspec.data.worlds import world_class
from underspec.errors import UserError
from underspec.files import atomic
from underspec.judging.prompts import read_prompt

GB = 1e9


def estimate(*, configfile: Path | None = None, output: Path | None = None) -> None:
    """Print what an experiment costs, by stage: jobs, GPU-hours, disk. Runs nothing.

    configfile: the experiment's overlay, as Snakemake's --configfile; output: a CSV file to write
    the table to as well.
    """
    config = validate(read_config(Path(), *[configfile] if configfile else []))
    table = estimated(config)
    settings = config["estimate"]
    shares = ", ".join(f"{settings[kind]:.0%} in {kind}" for kind in table.kind.unique())
    print(f"{config['experiment']}, at {settings['tflops']:g} TFLOP/s a GPU ({shares}):\n")
    shown = table.drop(columns="kind")
    print(shown.to_string(index=False, float_format=lambda value: f"{value:,.3g}") + "\n")
    total = table[["GPU-hours", "GB left"]].sum()
    on_gpus = table["GPU-hours"] > 0
    jobs, others = table.jobs[on_gpus].sum(), table.jobs[~on_gpus].sum()
    peak = table["GB while it runs"].max()
    print(
        f"{jobs} jobs on GPUs and {others} on CPUs, {total['GPU-hours']:,.1f} GPU-hours, "
        f"{total['GB left']:,.1f} GB left on disk, up to {peak:,.1f} GB more a running job"
    )
    known = sizes(config)
    for scale in scales_in_use(config):
        if scale in known:
            print(f"{scale}: {known[scale]:,} parameters")
        else:
            print(f"{scale}: not estimated; its size is to be given under estimate.sizes")
    if config["judge"]["url"]:
        print(judged(config))
    if output:
        with atomic(output) as unfinished:
            table.to_csv(unfinished, index=False)


def scales_in_use(config: dict) -> list[str]:
    others = (config[user]["scale"] for user in ("policy", "evaluator"))
    return list(dict.fromkeys([*config["scales"], *others]))


def estimated(config: dict) -> pd.DataFrame:
    """A row a stage and scale."""
    world, text = (
        world_class(name)(config["worlds"][name]) for name in (config["world"], text_world(config))
    )
    settings = config["estimate"]
    rows = []
    for stage in stages(config, world.sizes(), text.pretraining_tokens()):
        hours = stage.gpu_hours(settings["tflops"], settings)
        rows.append(
            {
                "stage": stage.stage,
                "scale": stage.scale,
                "jobs": stage.jobs,
                "PFLOP a job": stage.operations / 1e15,
                "GPU-hours a job": hours / stage.jobs,
                "GPU-hours": hours,
                "GB left": stage.jobs * stage.disk / GB,
                "GB while it runs": stage.scratch / GB,
                "kind": stage.kind,
                "operations": stage.arithmetic,
            }
        )
    return pd.DataFrame(rows)


def judged(config: dict) -> str:
    """What a prompted judge is asked, in a line."""
    posts = world_class(config["world"])(config["worlds"][config["world"]]).sizes()["best_of_n"]
    cost = judge_cost(config, posts, read_prompt(Path(config["judge"]["prompt"])).template)
    return (
        f"judge: {cost.questions:,} questions, {cost.prompt_tokens / 1e6:,.1f} million tokens of "
        f"prompts and {cost.answer_tokens / 1e6:,.1f} million of answers, at most"
    )


if __name__ == "__main__":
    try:
        with file_errors_explained():
            estimate(**arguments(estimate))
    except UserError as error:
        sys.exit(str(error))
