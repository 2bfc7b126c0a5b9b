"""Write docs/configuration.md and config.schema.json: the config's schema, with its comments."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from underspec.config.sections import Config
from underspec.data.worlds import names, world_class

ROOT = Path(__file__).parents[1]
KEY = re.compile(r"^( *)([\w.]+):(.*?)(?:(?:^| )# (.*))?$")
HEAD = """# Configuration

Every key that there is, as `config.yaml` sets it for the miniature. An overlay (`--configfile`)
names only what differs: lists replace, maps merge. `config.schema.json` has keys and bounds
for editors, which then complete keys and mark mistakes. `make reference` writes both.
"""


def comments(text: str) -> dict[tuple[str, ...], str]:
    """What config.yaml says about each key: the comment lines above it, then that behind it."""
    found, above, path = {}, [], []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            above.append(stripped.lstrip("# "))
        elif match := KEY.match(line):
            indent, key, _, behind = match.groups()
            path = [*path[: len(indent) // 2], key]
            found[tuple(path)] = " ".join([*above, *([behind] if behind else [])])
            above = []
        else:
            above = []
    return found


def schema() -> dict:
    """The JSON schema of an overlay: no key is required, and each world has its own options."""
    whole = Config.model_json_schema()
    worlds = {}
    for name in names():
        options = world_class(name).Options.model_json_schema()
        whole["$defs"] |= options.pop("$defs", {})
        worlds[name] = options
    whole["properties"]["worlds"] = {
        "type": "object",
        "properties": worlds,
        "additionalProperties": False,
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_overlay(whole)}


def _overlay(part):
    if isinstance(part, list):
        return [_overlay(each) for each in part]
    if not isinstance(part, dict):
        return part
    left_out = ("required", "title") if part.get("type") == "object" else ("title",)
    return {
        key: {name: _overlay(each) for name, each in value.items()}
        if key in ("properties", "$defs")
        else _overlay(value)
        for key, value in part.items()
        if key not in left_out
    }


def rows(part: dict, default, path: tuple[str, ...], defs: dict) -> Iterator[tuple]:
    """(path, default, schema) of each key below `path`; where names are free, of the first one."""
    part = _resolved(part, defs)
    if isinstance(default, dict) and "anyOf" in part:  # a map or null
        options = (_resolved(each, defs) for each in part["anyOf"])
        part = next(each for each in options if "properties" in each)
    if isinstance(default, dict) and default and part.get("properties"):
        for key, value in default.items():
            yield from rows(part["properties"][key], value, (*path, key), defs)
    elif isinstance(default, dict) and default and isinstance(_free(part), dict):
        key, value = next(iter(default.items()))
        yield from rows(_free(part), value, (*path, key), defs)
    else:
        yield path, default, part


def _free(part: dict):
    return part.get("additionalProperties") or next(
        iter(part.get("patternProperties", {}).values()), None
    )


def _resolved(part: dict, defs: dict) -> dict:
    return defs[part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part


def allowed(part: dict, defs: dict) -> str:
    """What a key may be, in words."""
    part = _resolved(part, defs)
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(allowed(each, defs) for each in part["anyOf"]))
    if "enum" in part or "const" in part:
        return ", ".join(f"`{value}`" for value in part.get("enum", [part.get("const")]))
    kind = part.get("type", "")
    if kind == "array":
        return f"list of: {allowed(part['items'], defs)}"
    words = {"null": "null", "boolean": "true or false", "string": "text", "object": "map"}
    bounds = {
        "minimum": "≥ {:,}",
        "exclusiveMinimum": "> {:,}",
        "maximum": "≤ {:,}",
        "exclusiveMaximum": "< {:,}",
        "multipleOf": "a multiple of {:,}",
    }
    said = [
        form.format(part[name])
        for name, form in bounds.items()
        if name in part and abs(part[name]) < 2**31 - 1  # beyond, nobody meant it
    ]
    return ", ".join([words.get(kind, kind), *said])


def configuration(config_text: str) -> str:
    """docs/configuration.md: a section for each key that has keys below it, the others together."""
    whole, said = schema(), comments(config_text)
    config = yaml.safe_load(config_text)
    sections = {"experiment": [key for key in config if not isinstance(config[key], dict)]}
    sections |= {key: [key] for key in config if isinstance(config[key], dict)}
    pages = [HEAD]
    for title, keys in sections.items():
        found = [
            row
            for key in keys
            for row in rows(whole["properties"][key], config[key], (key,), whole["$defs"])
        ]
        about = "The experiment, and what is drawn from it" if len(keys) > 1 else said.get((title,))
        if [path for path, *_ in found] == [(title,)]:
            about = None  # its row says it
        pages += [f"## {title}", "", *([_sentence(about), ""] if about else [])]
        pages += ["| key | miniature | allowed | meaning |", "|---|---|---|---|"]
        explained: set[tuple] = set()
        for path, value, part in found:
            maps = {path[:end] for end in range(2, len(path)) if said.get(path[:end])} - explained
            pages += [_row(each, "", "map", said) for each in sorted(maps)]
            explained |= maps
            pages.append(_row(path, f"`{json.dumps(value)}`", allowed(part, whole["$defs"]), said))
        pages.append("")
    return "\n".join(pages)


def _row(path: tuple[str, ...], value: str, may_be: str, said: dict) -> str:
    cells = [f"`{'.'.join(path)}`", value, may_be, said.get(path, "").replace("<", "&lt;")]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + ("" if text.endswith((".", ")")) else ".")


def made() -> dict[Path, str]:
    """Each file and its content."""
    return {
        ROOT / "docs/configuration.md": configuration((ROOT / "config.yaml").read_text()),
        ROOT / "config.schema.json": json.dumps(schema(), indent=1, ensure_ascii=False) + "\n",
    }


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    else:
        for path, text in made().items():
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))
