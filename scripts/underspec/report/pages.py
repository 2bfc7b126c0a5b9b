"""The pages of the report: templates of reports/pages, filled and self-contained.

A page opens offline and inside Snakemake's report, which shows it in a frame of its own without
an origin: no page may fetch anything or keep anything in the browser.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateNotFound

from underspec.analysis import published
from underspec.errors import ArtifactError
from underspec.report.look import COLOURS, human
from underspec.report.words import reworded

# Bytes. Snakemake's report opens a page as a data URI, in base64, and Chromium silently shows
# nothing if that is longer than 2 MiB.
LARGEST_PAGE = 2**21 * 3 // 4 - 100


def write_page(
    template: Path, output: Path, words: Mapping[str, str] | None = None, **values
) -> None:
    """Fill `template` and write it; files beside the template can be included.

    Text is escaped. words: see `words.reworded`. Raises ArtifactError if there is no such template,
    jinja2.UndefinedError if it asks for a value that is not given.
    """
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"human": human, "bytes": human_bytes, "packed": packed}
    environment.globals |= {"colours": COLOURS, "published_parameters": published.PARAMETERS}
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        page = environment.get_template(template.name)
    except TemplateNotFound as error:
        raise ArtifactError(
            f"{template.parent / str(error.name)}: no such template; restore it"
        ) from None
    output.write_text(reworded(page.render(**values), words or {}), encoding="utf-8")


def packed(data) -> str:
    """`data` as JSON, compressed by gzip, in base64: as small as it gets, and no text that it holds
    can end a script element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode("ascii")


def human_bytes(count: float) -> str:
    """A size as people say it: 950 B, 41 kB, 1.2 MB."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"
