"""Tiny models of other families, in folders as published: names, tokenizer files, types of weights.

Weights are random; tokenizers are trained on a few lines.
"""

import json
from pathlib import Path

import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForPreTraining,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

LINES = [
    "My brother sold my bike, and now I am sad about it.",
    "She asked me to leave the party, so I left at once!",
    "Is it wrong that I told my sister the truth?",
    "TL;DR: sold the bike. Left the party. Told the truth.",
]
CHAT = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
)
LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
LAYERS |= {"initializer_range": 0.3}  # so that rewards differ


def write_bert(folder: Path, seed: int = 0, **changes) -> Path:
    """MultiBERTs' layout: a model with pretraining heads, and a WordPiece vocabulary."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in vocabulary))
    settings = {"do_lower_case": True, "model_max_length": 64, "tokenizer_class": "BertTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    AutoTokenizer.from_pretrained(folder).backend_tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "max_position_embeddings": 64, "vocab_size": len(vocabulary)}
    BertForPreTraining(BertConfig(**LAYERS | sizes | changes)).save_pretrained(folder)
    return folder


def _byte_level(special: list[str]) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        LINES,
        trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer


def write_neox(folder: Path, seed: int = 0, **changes) -> Path:
    """Pythia's layout: half precision, more rows than tokens, and no padding token."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _byte_level(["<|endoftext|>", "<|padding|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    end = {f"{name}_token": "<|endoftext|>" for name in ("bos", "eos", "unk")}
    settings = {**end, "add_prefix_space": False, "tokenizer_class": "GPTNeoXTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "special_tokens_map.json").write_text(json.dumps(end))
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "max_position_embeddings": 128, "vocab_size": 352}
    ids = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPTNeoXConfig(**LAYERS | sizes | ids | changes)
    GPTNeoXForCausalLM(config).half().save_pretrained(folder)
    return folder


def write_llama(folder: Path, seed: int = 0, kind: type = LlamaForCausalLM, **changes) -> Path:
    """Llama 3's layout: bfloat16, several files of weights, and a chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|pad|>"]
    tokenizer = _byte_level([*special, "<|user|>", "<|assistant|>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": special[0], "eos_token": special[1], "pad_token": special[3]}
    settings = {**names, "chat_template": CHAT, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "max_position_embeddings": 128, "num_key_value_heads": 1}
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 3}
    config = LlamaConfig(**LAYERS | sizes | ids | {"vocab_size": 330} | changes)
    kind(config).bfloat16().save_pretrained(folder, max_shard_size="20KB")
    return folder


WRITE = {"bert": write_bert, "neox": write_neox, "llama": write_llama}
TEMPLATE = "{post}\n\nTL;DR: {sample}"
ARCHITECTURES = {
    "bert": {"name": "encoder"},
    "neox": {"name": "decoder", "template": TEMPLATE},
    "llama": {"name": "decoder", "template": "chat"},
}
