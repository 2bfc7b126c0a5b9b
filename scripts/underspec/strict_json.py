"""Strict reading of JSON: duplicate keys are refused."""

import json
from typing import Any


def parse(text: str | bytes) -> Any:
    """The value of `text`. Raises ValueError if it is not JSON or has duplicate keys."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice} is there twice")
    return found
