"""Maps in YAML files, read strictly: a key that a map has twice is refused, at any depth."""

from collections import Counter
from pathlib import Path

import yaml

from underspec.errors import ConfigError


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = Counter()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                seen[key.tag, key.value] += 1
                if seen[key.tag, key.value] == 2:
                    raise yaml.constructor.ConstructorError(
                        problem=f"the key {key.value} stands there twice; remove one of the two",
                        problem_mark=key.start_mark,
                    )
        return super().construct_mapping(node, deep)


def read_map(path: Path) -> dict:
    """The map in a YAML file.

    Raises ConfigError with one line that names the file, and the line where there is one, if the
    file is missing, empty, no YAML or no map, or if a map in it has a key twice.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; correct the name of the file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {_one_line(error)}") from None
    except ValueError as error:  # no UTF-8, or a date that no calendar has
        raise ConfigError(f"{path}: not readable as YAML ({error})") from None
    if content is None:
        raise ConfigError(f"{path}: empty; write the keys there that differ from config.yaml")
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: not a map; write it as `key: value`, as in config.yaml")
    return content


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"not readable as YAML ({' '.join(str(error).split())})"
    return f"line {mark.line + 1}: {error.problem}"
