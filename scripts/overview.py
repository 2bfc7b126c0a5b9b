import base64
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict

from underspec.analysis.bootstrap import distinct
from underspec.analysis.seeds_needed import POWER
from underspec.command import command
from underspec.report import look
from underspec.report.data_card import card
from underspec.report.overview import (
    CHOSEN,
    grouped,
    read_claims,
    seeds_in_words,
    sizes,
    tally,
    trained_on,
)
from underspec.report.pages import write_page
from underspec.report.shipped_verdicts import against
from underspec.schema import Count, Name, Section, Text


class About(Section):
    """The facts on the first page of the report; its template uses more keys."""

    model_config = ConfigDict(extra="allow")
    experiment: Name
    world: Name
    pretrain_seeds: Count


class Figure(Section):
    title: Text
    path: Text


def overview(
    *,
    about: Annotated[dict, About],
    accuracy: Path,
    figures: list[Annotated[dict, Figure]],
    claims: Path,
    models: list[Path],
    template: Path,
    opening: Path,
    page: Path,
    shipped: Path | None = None,
) -> None:
    """Write the overview: question, setting, what came out, the main figures; and the part of it
    that the report opens with.

    about: the part of the config that the page tells; figures: title and path of each SVG, the
    one to open with first; models: the folders of those trained; shipped: verdicts of a run of the
    same config, to compare with.
    """
    table = look.read(str(accuracy))
    rows = read_claims(claims)
    drawn = [
        figure | {"data": base64.b64encode(Path(figure["path"]).read_bytes()).decode()}
        for figure in figures
    ]
    came_out = {
        "about": about,
        "chosen": CHOSEN,
        "tally": tally(rows),
        "machines": trained_on(models),
        "shipped": against(rows, shipped) if shipped else None,
        "words": about.get("words"),
    }
    write_page(template.with_name("opening.html"), opening, figure=drawn[0], **came_out)
    write_page(
        template,
        page,
        **came_out,
        card=card(about["world"]),
        sizes=sizes(table),
        claims=grouped(rows),
        seeds_in_words=seeds_in_words,
        power=POWER,
        distinct=distinct(about["pretrain_seeds"]),
        figures=drawn,
        face=look.face(table[table.role == "reward model"], about["experiment"]),
    )


if __name__ == "__main__":
    command(overview)
