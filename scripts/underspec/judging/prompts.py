"""The prompt of a judge, a file, and what an answer to it says."""

import re
from pathlib import Path
from string import Template

from underspec.errors import ConfigError
from underspec.files import MAKE

PARTS = {"post", "first", "second"}
# What may stand in the last line of an answer, markup apart, and what it means.
VERDICT = re.compile(r"(?:verdict\s*:\s*)?(a|b|tie)\.?", re.IGNORECASE)
MEANING = {"a": "first", "b": "second", "tie": "tie"}
MARKUP = re.compile(r"[*_`]")


def read_prompt(path: Path) -> Template:
    """The prompt in a file: text with $post, $first and $second; a dollar sign is written $$.

    Raises ConfigError, naming the file, if it is missing, is not UTF-8, or lacks one of them or has
    another.
    """
    try:
        prompt = Template(path.read_text(encoding="utf-8"))
        found = set(prompt.get_identifiers())
        prompt.substitute(dict.fromkeys(found, ""))
    except FileNotFoundError:
        raise ConfigError(f"judge.prompt: {path}: no such file; {MAKE}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"judge.prompt: {path} is not UTF-8; save it as UTF-8") from None
    except ValueError as error:
        raise ConfigError(
            f"judge.prompt: {path}: {error}; write a dollar sign as two ($$)"
        ) from None
    if found != PARTS:
        wanted = ", ".join(f"${name}" for name in sorted(PARTS))
        raise ConfigError(
            f"judge.prompt: {path} has {', '.join(f'${name}' for name in sorted(found)) or 'none'}"
            f" of its parts; it needs {wanted} and no others"
        )
    return prompt


def verdict(answer: str) -> str | None:
    """`first`, `second` or `tie`, by the last line of an answer that is not blank; None if that
    says anything else. Nothing is guessed: a letter further up may be part of an argument.
    """
    lines = [line for line in answer.splitlines() if line.strip()]
    found = VERDICT.fullmatch(MARKUP.sub("", lines[-1]).strip()) if lines else None
    return MEANING[found[1].lower()] if found else None
