"""The experiments on models of other families, in small: changes to the smoke experiment, and the
folders of the models that they name.
"""

from pathlib import Path

from own_models import TEMPLATE, write_bert, write_llama, write_neox
from transformers import LlamaForSequenceClassification

SEEDS = (0, 1)  # pretraining and finetuning seeds of the smoke experiment
RECIPE = {"steps": 4, "batch": 8, "learning_rate": 1e-3, "warmup": 0}


def own_models(folder: Path) -> dict:
    """Decoders as in experiments/pythia.yaml, encoders as in experiments/multiberts.yaml, and
    finished reward models as in experiments/own_models.yaml. The original of the decoders, seed 0,
    has a name of its own.
    """
    write_neox(folder / "neox", 0)
    write_neox(folder / "neox-seed1", 1)
    for seed in SEEDS:
        write_bert(folder / f"bert-seed_{seed}", seed)
        for finetune in SEEDS:
            finished = folder / f"llama{seed}-{finetune}"
            write_llama(finished, 2 * seed + finetune, LlamaForSequenceClassification, num_labels=1)
    finished = f"{folder}/llama{{pretrain_seed}}-{{finetune_seed}}"
    return {
        "scales": ["neox", "bert", "llama"],
        "words": {"group": "base model", "member": "finetune"},
        "models": {
            "neox": {"architecture": "decoder", "template": TEMPLATE, "reward_model": RECIPE},
            "bert": {"architecture": "encoder", "reward_model": RECIPE | {"dropout": 0.1}},
            "llama": {"architecture": "decoder", "template": "chat"},
        },
        "pretrain": {
            "checkpoints": {
                "neox/0": {"source": "hub", "path": f"{folder}/neox"},
                "neox": {"source": "hub", "path": f"{folder}/neox-seed{{seed}}"},
                "bert": {"source": "hub", "path": f"{folder}/bert-seed_{{seed}}"},
            }
        },
        "reward_models": {"llama": {"path": finished}},
    }
