"""What figures and pages call seeds, where these stand for something else.

The text of figures, claims and pages is written about pretraining and finetuning seeds. Where the
groups are something else (base models, say), it is reworded here and nowhere else.
"""

import re
from collections.abc import Mapping


def reworded(text: str, words: Mapping[str, str]) -> str:
    """`text` with the names of seeds, checkpoints and ensembles replaced; words: group and member,
    in the singular; without words, the same text."""
    if not words:
        return text
    for pattern, replacement in _replacements(**words):
        text = re.sub(pattern, lambda found, new=replacement: _as(found[0], new), text, flags=re.I)
    return text


def _replacements(group: str, member: str) -> list[tuple[str, str]]:
    groups, members = plural(group), plural(member)
    return [
        (r"pretrain\s+ensemble", f"{group} ensemble"),
        (r"finetune\s+ensemble", f"{member} ensemble"),
        (r"pretrain\s+ens\.", f"{group} ens."),
        (r"finetune\s+ens\.", f"{member} ens."),
        (r"(pretraining\s+seeds|(pretrained\s+)?checkpoints)", groups),
        (r"(pretraining\s+seed|(pretrained\s+)?checkpoint)", group),
        (r"finetuning\s+seeds", members),
        (r"finetuning\s+seed", member),
        (r"\bof\s+pretrain\b", f"of {group}"),  # quantities: reward of pretrain mean
        (r"\bof\s+finetune\b", f"of {member}"),
    ]


def plural(noun: str) -> str:
    if re.search("[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + ("es" if re.search("(s|x|z|ch|sh)$", noun) else "s")


def _as(old: str, new: str) -> str:
    """`new` with a capital, and its last word on a line of its own, where the old has them."""
    new = new[0].upper() + new[1:] if old[0].isupper() else new
    return "\n".join(new.rsplit(" ", 1)) if "\n" in old else new
