"""The experiments on models of other families, in small: changes to the smoke experiment, and the
folders of models that they name.
"""

from pathlib import Path

from own_models import TEMPLATE, write_bert, write_neox

SEEDS = (0, 1)  # pretraining seeds of the smoke experiment
RECIPE = {"steps": 4, "batch": 8, "learning_rate": 1e-3, "warmup": 0}


def own_models(folder: Path) -> dict:
    """Decoders as in experiments/pythia.yaml and encoders as in experiments/multiberts.yaml. The
    original of the decoders, seed 0, has a name of its own.
    """
    write_neox(folder / "neox", 0)
    write_neox(folder / "neox-seed1", 1)
    for seed in SEEDS:
        write_bert(folder / f"bert-seed_{seed}", seed)
    return {
        "scales": ["neox", "bert"],
        "models": {
            "neox": {"architecture": "decoder", "template": TEMPLATE, "reward_model": RECIPE},
            "bert": {"architecture": "encoder", "reward_model": RECIPE | {"dropout": 0.1}},
        },
        "pretrain": {
            "checkpoints": {
                "neox/0": {"source": "hub", "path": f"{folder}/neox"},
                "neox": {"source": "hub", "path": f"{folder}/neox-seed{{seed}}"},
                "bert": {"source": "hub", "path": f"{folder}/bert-seed_{{seed}}"},
            }
        },
    }
