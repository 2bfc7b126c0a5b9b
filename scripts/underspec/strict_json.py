"""JSON, read strictly: a key that an object has twice is refused."""

import json
from typing import Any


def parse(text: str | bytes) -> Any:
    """What `text` says. Raises ValueError in one line if it is no JSON, or an object has a key
    twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice} stands there twice")
    return found
