"""Strict reading of YAML files: duplicate keys are refused, and numbers are decimal."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from underspec.errors import ConfigError

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"


class _Loader(yaml.SafeLoader):
    """Reads 0777, 12:00 and 2024_01 as text, as in YAML 1.2 (YAML 1.1 reads 511, 720 and 202401).

    So names stay as written, and the schema converts decimal numbers.
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = Counter()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                seen[key.tag, key.value] += 1
                if seen[key.tag, key.value] == 2:
                    raise yaml.constructor.ConstructorError(
                        problem=f"the key {key.value} is there twice; remove one of the two",
                        problem_mark=key.start_mark,
                    )
        return super().construct_mapping(node, deep)


_DIGITS = "-+0123456789."
_Loader.add_implicit_resolver(
    _INT, re.compile(r"[-+]?(0|[1-9][0-9]*)$|0x[0-9a-fA-F]+$"), list(_DIGITS)
)
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
    ),
    list(_DIGITS),
)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises ConfigError in one line that names the file and, if known, the line in it, if the file is
    missing or not YAML, or if a map has duplicate keys.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; correct the name of the file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {_one_line(error)}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deep; close its brackets") from None
    except ValueError as error:  # not UTF-8, or an impossible date
        raise ConfigError(f"{path}: not readable as YAML ({error})") from None


def read_map(path: Path) -> dict:
    """The map in a YAML file.

    Raises ConfigError as `read_yaml` does, and if the file is empty or not a map.
    """
    content = read_yaml(path)
    if content is None:
        raise ConfigError(f"{path}: empty; add the keys that differ from config.yaml")
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: not a map; write it as `key: value`, as in config.yaml")
    return content


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"not readable as YAML ({' '.join(str(error).split())})"
    return f"line {mark.line + 1}: {error.problem}"
