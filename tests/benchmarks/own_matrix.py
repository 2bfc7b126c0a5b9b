"""`make analyse` on a made-up matrix of rewards from nothing to its report, in a folder of its own.

    python tests/benchmarks/own_matrix.py                            1,000 posts, two cores
    python tests/benchmarks/own_matrix.py --posts 100 --repeats 3

Rewards are a shared quality plus errors of a base model and of each of its finetunes. Prints, of
each repeat, seconds on the wall, CPU-seconds, and the most memory that all processes together had
(what they share counts once). The environment `.venv-figures` must be there (`make analyse` makes
it).
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

HERE = Path(__file__).resolve().parents[2]
GROUPS, MEMBERS = 6, 5
SAMPLES = 64
WORDS = 400  # different ones in texts


def write_matrix(folder: Path, posts: int) -> None:
    rng = np.random.default_rng(0)
    keys = pd.DataFrame(
        {
            "post_id": np.repeat([f"post-{i:05}" for i in range(posts)], SAMPLES),
            "sample_index": np.tile(np.arange(SAMPLES), posts),
        }
    )
    quality = rng.normal(size=len(keys))
    models, rewards = [], {}
    for group in range(GROUPS):
        shared = quality + 0.7 * rng.normal(size=len(keys))
        for member in range(MEMBERS):
            name = f"base{group}-finetune{member}"
            accuracy = round(rng.uniform(0.60, 0.62), 4)
            models.append((name, f"base{group}", member, accuracy))
            rewards[name] = shared + 0.5 * rng.normal(size=len(keys))
    tables = {
        "rewards": pd.DataFrame(rewards),
        "evaluator": pd.DataFrame({"reward": quality + 0.4 * rng.normal(size=len(keys))}),
        "gold": pd.DataFrame({"reward": quality}),
    }
    words = np.array([f"word{i}" for i in range(WORDS)])
    post_texts = [" ".join(rng.choice(words, 60)) for _ in range(posts)]
    texts = [" ".join(rng.choice(words, rng.integers(8, 30))) for _ in range(len(keys))]
    samples = keys.assign(text=texts, post=np.repeat(post_texts, SAMPLES))
    folder.mkdir()
    for name, table in tables.items():
        pd.concat([keys, table.round(4)], axis=1).to_csv(folder / f"{name}.csv", index=False)
    samples.to_csv(folder / "samples.csv", index=False)
    columns = ["name", "group", "member", "accuracy"]
    pd.DataFrame(models, columns=columns).to_csv(folder / "reward_models.csv", index=False)


def memory(process: psutil.Process) -> float:
    """GB of a process and of all that it started."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_full_info().pss
        except psutil.Error:  # it has just ended
            continue
    return total / 1e9


def measured(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Seconds, CPU-seconds and GB that a command takes."""
    before, began = cpu_seconds(), time.monotonic()
    with (folder / "analyse.log").open("w") as log:
        running = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        most, process, ended = 0.0, psutil.Process(running.pid), threading.Event()
        watch = threading.Thread(target=lambda: (running.wait(), ended.set()))
        watch.start()
        while not ended.wait(0.5):
            most = max(most, memory(process))
        watch.join()
    if running.returncode:
        sys.exit((folder / "analyse.log").read_text()[-3000:])
    return time.monotonic() - began, cpu_seconds() - before, most


def cpu_seconds() -> float:
    times = psutil.Process().cpu_times()
    return times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--posts", type=int, default=1000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        matrix = Path(name) / "made_up"
        write_matrix(matrix, asked.posts)
        for repeat in range(asked.repeats):
            folder = Path(name) / str(repeat)
            subprocess.run(["git", "clone", "-q", HERE, folder], check=True)
            (folder / ".venv-figures").symlink_to(HERE / ".venv-figures")
            (folder / ".venv-figures/ready").touch()  # newer than the clone's list of packages
            command = ["make", "analyse", f"MATRIX={matrix}", f"CORES={asked.cores}"]
            seconds, cpu, most = measured(command, folder)
            print(f"{seconds:.1f} s, {cpu:.1f} CPU-seconds, {most:.2f} GB", flush=True)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
