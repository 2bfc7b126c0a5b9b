"""Writes the example of a reward matrix from elsewhere: examples/my_rewards.

Six reward models of three base models, of which one was finetuned three times and one once, score
eight made-up texts for each of 30 questions. Rewards are a shared quality plus errors that a base
model's finetunes have in common, plus their own.
"""

import csv
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "my_rewards"
POSTS, SAMPLES = 30, 8
MODELS = {
    "llama-a": "llama",
    "llama-b": "llama",
    "llama-c": "llama",
    "qwen-a": "qwen",
    "qwen-b": "qwen",
    "pythia-a": "pythia",
}
THINGS = [
    "bicycle",
    "kettle",
    "violin",
    "ladder",
    "garden",
    "printer",
    "tent",
    "oven",
    "guitar",
    "window",
]
VERBS = ["clean", "repair", "choose"]
ADVICE = {
    "read the manual": 0.4,
    "work slowly": 0.2,
    "ask a friend": 0.0,
    "buy a new one": -0.4,
    "use a soft cloth": 0.3,
    "measure twice": 0.1,
    "hope for the best": -0.6,
}


def write(name: str, rows: list[dict]) -> None:
    with (FOLDER / name).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def main() -> None:
    rng = np.random.default_rng(0)
    advice = list(ADVICE)
    chosen = rng.integers(len(advice), size=(POSTS, SAMPLES, 2))
    quality = np.array(list(ADVICE.values()))[chosen].sum(axis=2)
    quality += 0.3 * rng.normal(size=quality.shape)
    of_group = {group: rng.normal(size=quality.shape) for group in dict.fromkeys(MODELS.values())}
    rewards = {
        name: quality + 0.5 * of_group[group] + 0.3 * rng.normal(size=quality.shape)
        for name, group in MODELS.items()
    }
    keys = [
        {"post_id": f"q{post:02}", "sample_index": i}
        for post in range(POSTS)
        for i in range(SAMPLES)
    ]
    FOLDER.mkdir(exist_ok=True)
    write(
        "reward_models.csv",
        [
            {"name": name, "group": group, "member": name[-1], "accuracy": round(accuracy, 3)}
            for (name, group), accuracy in zip(
                MODELS.items(), 0.7 + 0.01 * rng.normal(size=len(MODELS)), strict=True
            )
        ],
    )
    flat = {name: values.ravel().round(3) for name, values in rewards.items()}
    write(
        "rewards.csv",
        [
            key | {name: values[row] for name, values in flat.items()}
            for row, key in enumerate(keys)
        ],
    )
    judged = (quality + 0.2 * rng.normal(size=quality.shape)).ravel().round(3)
    write("evaluator.csv", [key | {"reward": judged[row]} for row, key in enumerate(keys)])
    samples = []
    for row, key in enumerate(keys):
        post, sample = divmod(row, SAMPLES)
        thing, verb = THINGS[post % len(THINGS)], VERBS[post // len(THINGS)]
        first, second = (advice[i] for i in chosen[post, sample])
        samples.append(
            key
            | {
                "text": f"To {verb} your {thing}, {first}, and then {second}.",
                "post": f"How do I {verb} my {thing}?",
            }
        )
    write("samples.csv", samples)


if __name__ == "__main__":
    main()
