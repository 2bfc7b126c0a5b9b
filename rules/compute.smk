# Resources of jobs, from `compute` in the config. Everything here is a resource, so changing it
# reruns nothing. Reads config; makes nothing.
from dataclasses import fields

from underspec.recipe import DeviceLayout


def scale_of(wildcards):
    return wildcards.get("scale") or wildcards.imported.split("/")[0]


def asks(stage, scale=None):
    """The resources of a rule of `stage`; give `scale` if the rule has no such wildcard."""

    def of(resource):
        def asked(wildcards, attempt):
            return resource(need(config, stage, scale or scale_of(wildcards)), attempt)

        return asked

    return {name: of(resource) for name, resource in RESOURCES.items()}


def cpus(stage, scale=None):
    return lambda wildcards: need(config, stage, scale or scale_of(wildcards))["cpus"]


def grown(key):
    """Grows with each attempt, up to the maximum."""

    def of(asked, attempt):
        wanted = asked[key] * asked[f"growth_{key}"] ** (attempt - 1)
        return int(min(wanted, asked[f"max_{key}"] or wanted))

    return of


def launcher(asked, attempt):
    """The command that starts a training: PyTorch's launcher on each node, one process per GPU."""
    if asked["gpus"] <= 1 and asked["nodes"] == 1:
        return "python"
    torchrun = f"python -m torch.distributed.run --nproc-per-node={max(1, asked['gpus'])}"
    torchrun = f"env OMP_NUM_THREADS=1 {torchrun}"
    if asked["nodes"] == 1:
        return f"{torchrun} --standalone --"
    return (
        f"srun -N {asked['nodes']} -n {asked['nodes']} --ntasks-per-node=1 --kill-on-bad-exit=1"
        f" {torchrun} --nnodes={asked['nodes']} --rdzv-backend=c10d --rdzv-id=$SLURM_JOB_ID"
        ' --rdzv-endpoint=$(scontrol show hostnames "$(squeue -h -j $SLURM_JOB_ID -o %N)"'
        " | head -n 1):$((20000 + SLURM_JOB_ID % 10000)) --"
    )


def device_layout(asked, attempt):
    return json.dumps({key.name: asked[key.name] for key in fields(DeviceLayout)})


RESOURCES = {
    "mem_mb": grown("mem_mb"),
    "runtime": grown("minutes"),
    "gpu": lambda asked, attempt: asked["gpus"] * asked["nodes"],
    "nodes": lambda asked, attempt: asked["nodes"],
    "tasks": lambda asked, attempt: asked["nodes"],
    "tasks_per_gpu": lambda asked, attempt: 0,  # otherwise Slurm is asked for `tasks` per GPU
    # The Slurm plugin starts a job without its own step wherever `mpi` is set, even to nothing. A
    # requested signal (--signal) reaches steps only.
    "mpi": lambda asked, attempt: "srun" if asked["nodes"] > 1 else None,
    "launcher": launcher,
    "device_layout": device_layout,
}
