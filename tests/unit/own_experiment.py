"""The experiments on models of other families, in small: changes to the smoke experiment, and the
folders of the models that they name.
"""

import json
from pathlib import Path

from own_models import TEMPLATE, write_bert, write_llama, write_neox
from transformers import LlamaForSequenceClassification

SEEDS = (0, 1)  # pretraining and finetuning seeds of the smoke experiment
RECIPE = {"steps": 4, "batch": 8, "learning_rate": 1e-3, "warmup": 0}
# An untrained policy writes samples of any words, which tiny tokenizers read in many pieces.
LONG = {"max_position_embeddings": 512}


def own_models(folder: Path) -> dict:
    """Decoders as in experiments/pythia.yaml, encoders as in experiments/multiberts.yaml, and
    finished reward models as in experiments/own_models.yaml. The original of the decoders, seed 0,
    has a name of its own.
    """
    write_neox(folder / "neox", 0, **LONG)
    write_neox(folder / "neox-seed1", 1, **LONG)
    for seed in SEEDS:
        bert = write_bert(folder / f"bert-seed_{seed}", seed, **LONG)
        settings = json.loads((bert / "tokenizer_config.json").read_text())
        settings["model_max_length"] = LONG["max_position_embeddings"]
        (bert / "tokenizer_config.json").write_text(json.dumps(settings))
        for finetune in SEEDS:
            kind, changes = LlamaForSequenceClassification, LONG | {"num_labels": 1}
            write_llama(folder / f"llama{seed}-{finetune}", 2 * seed + finetune, kind, **changes)
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
