"""The config of the miniature, before validation, and changes to it."""

import copy
from pathlib import Path

from underspec.config.layers import merged, read_config

ROOT = Path(__file__).parents[2]
MINIATURE = read_config(ROOT)


def changed(key, value):
    overlay = value
    for part in reversed(key.split(".") if isinstance(key, str) else [key]):
        overlay = {part: overlay}
    return copy.deepcopy(merged(MINIATURE, overlay))


def without(key):
    config = copy.deepcopy(MINIATURE)
    *parents, last = key.split(".")
    section = config
    for part in parents:
        section = section[part]
    del section[last]
    return config
