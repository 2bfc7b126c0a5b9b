import base64
from pathlib import Path
from typing import Annotated

from underspec import plots, sections
from underspec.command import command
from underspec.data_card import card
from underspec.overview import grouped, read_claims, sizes, tally
from underspec.pages import write_page
from underspec.resampling import distinct


def overview(
    *,
    about: Annotated[dict, sections.About],
    accuracy: Path,
    figures: list[Annotated[dict, sections.Figure]],
    claims: Path,
    template: Path,
    output: Path,
) -> None:
    """Write the first page of the report: question, setting, what came out, the main figures.

    about: the part of the config that the page tells; figures: title and path of each SVG.
    """
    table = plots.read(str(accuracy))
    rows = read_claims(claims)
    write_page(
        template,
        output,
        about=about,
        card=card(about["world"]),
        sizes=sizes(table),
        claims=grouped(rows),
        distinct=distinct(about["pretrain_seeds"]),
        tally=tally(rows),
        figures=[
            figure | {"data": base64.b64encode(Path(figure["path"]).read_bytes()).decode()}
            for figure in figures
        ],
        face=plots.face(table[table.role == "reward model"], about["experiment"]),
    )


if __name__ == "__main__":
    command(overview)
