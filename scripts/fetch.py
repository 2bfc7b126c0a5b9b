from pathlib import Path

from underspec.command import command
from underspec.data.worlds import world_class


def fetch(*, world: str, options: dict, output: Path) -> None:
    """Fetch the raw files of a world that is not generated."""
    source = world_class(world)
    options = source.options_of_fetch(options)
    output.mkdir(parents=True, exist_ok=True)
    source.fetch(output, **options)


if __name__ == "__main__":
    command(fetch)
