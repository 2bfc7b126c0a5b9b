"""Validates the config, including contradictions between keys."""

from pydantic import BaseModel

from underspec.config import contradictions
from underspec.config.derived import text_world
from underspec.config.layers import merged
from underspec.config.sections import Config
from underspec.data.worlds import names, world_class
from underspec.errors import ConfigError
from underspec.schema import checked


def validate(config: dict) -> dict:
    """The config, with every value converted to the type in the schema (1e-3 may be text).

    Raises ConfigError in one line that names the key and says what is allowed.
    """
    settings = checked(Config, config)
    config = _typed(config, settings)
    if unknown := ", ".join(sorted(settings.worlds.keys() - set(names()))):
        raise ConfigError(f"worlds: {unknown} is unknown; allowed are {', '.join(names())}")
    text = text_world(config)
    if not settings.matrix:
        _require(settings.world, "world", "has_posts", "posts")
        _require(text, "pretraining.world", "has_pretraining_text", "pretraining text")
    for world in (settings.world, text):
        given = config["worlds"].get(world, {})
        options = checked(world_class(world).Options, given, "worlds", world)
        config = merged(config, {"worlds": {world: _typed(given, options)}})
    key, asked = options.most_shards, settings.pretraining.shards
    if key and asked > (most := getattr(options, key)):
        raise ConfigError(
            f"pretraining.shards: {asked} is more than the {most} {key.replace('_', ' ')} of the "
            f"world {text} (worlds.{text}.{key})"
        )
    for key, broken, message in contradictions.checks(settings, config):
        if broken:
            raise ConfigError(f"{key}: {message}")
    return config


def _typed(section: dict, values: BaseModel) -> dict:
    """A section with validated values; its keys and their order stay the same."""
    return merged(section, values.model_dump(exclude_unset=True))


def _require(world: str, key: str, flag: str, part: str) -> None:
    """Raises ConfigError if the world named under `key` lacks a part."""
    if not getattr(world_class(world, key), flag):
        able = ", ".join(name for name in names() if getattr(world_class(name), flag))
        raise ConfigError(f"{key}: {world} has no {part}; worlds with {part} are {able}")
