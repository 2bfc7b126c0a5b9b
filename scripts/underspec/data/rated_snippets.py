"""Snippets of English that people rated for valence, from the files of Hutto and Gilbert (2014).

Each domain has two tables without a head, separated by tabs: what was rated (id, mean rating, text)
and the single ratings (id, mean, standard deviation, a list of whole numbers from -4 to 4).
"""

import html
import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd

from underspec.errors import ArtifactError

DOMAINS = {  # the beginning of the names of each one's files
    "films": "movieReviewSnippets",
    "products": "amazonReviewSnippets",
    "editorials": "nytEditorialSnippets",
    "tweets": "tweets",
}
TEXTS, RATINGS = "_GroundTruth.txt", "_anonDataRatings.txt"
ARCHIVE = "additional_resources/hutto_ICWSM_2014.tar.gz"  # in the source distribution
MOST = 4  # a rating is from -4, extremely negative, to 4, extremely positive
SAME_MEAN = 1e-6  # means are printed with nine decimals at least, unless they have fewer
REFETCH = "delete the folder of the raw files and run Snakemake again"


def unpack(distribution: Path, folder: Path) -> None:
    """Write the tables of all domains, as they were published, into `folder`."""
    with tarfile.open(distribution) as outer:
        top = outer.next().name.partition("/")[0]
        with tarfile.open(fileobj=outer.extractfile(f"{top}/{ARCHIVE}")) as inner:
            for name in DOMAINS.values():
                for kind in (TEXTS, RATINGS):
                    member = inner.extractfile(f"hutto_ICWSM_2014/{name}{kind}")
                    (folder / f"{name}{kind}").write_bytes(member.read())


def read_snippets(folder: Path, min_words: int) -> pd.DataFrame:
    """The snippets of all domains in the order of the files: post_id, domain, group, text, rating
    (the mean) and ratings (the single ones, as JSON).

    Reviews of products and editorials have several snippets, whose ids say so: a group. HTML
    entities become characters, white space single spaces. attrs["dropped"] counts by domain and
    reason what is left out: snippets with fewer than `min_words` words, those with the words of an
    earlier one, and those whose single ratings do not have the published mean (ratings of other
    texts stand beside them). Raises ArtifactError, naming file and line, if a file cannot be read.
    """
    tables = [_of_domain(folder, domain, name) for domain, name in DOMAINS.items()]
    table = pd.concat(tables, ignore_index=True)
    table["text"] = table.text.map(html.unescape).str.split().str.join(" ")
    means = table.ratings.map(lambda ratings: np.mean(json.loads(ratings)))
    reasons = pd.Series(None, index=table.index, dtype="object")
    # In this order, so that a text is not left out for repeating one that is left out itself.
    for reason, wrong in (
        ("whose ratings have another mean", (means - table.rating).abs() > SAME_MEAN),
        (f"of fewer than {min_words} words", table.text.str.split().str.len() < min_words),
    ):
        reasons[wrong & reasons.isna()] = reason
    kept = table[reasons.isna()]
    repeats = kept.index[kept.text.map(words).duplicated()]
    reasons[repeats] = "with the words of an earlier one"
    dropped = reasons.dropna().groupby(table.domain)
    table = table[reasons.isna()].reset_index(drop=True)
    table.attrs["dropped"] = {domain: own.value_counts().to_dict() for domain, own in dropped}
    return table


def words(text: str) -> str:
    """The words of a text in lower case, without what stands between them."""
    return " ".join(re.findall(r"\w+", text.lower()))


def _of_domain(folder: Path, domain: str, name: str) -> pd.DataFrame:
    texts, ratings = folder / f"{name}{TEXTS}", folder / f"{name}{RATINGS}"
    rated = _table(texts, ["id", "rating", "text"])
    single = _table(ratings, ["id", "mean", "deviation", "ratings"])
    for path, other, ids in ((texts, ratings, single), (ratings, texts, rated)):
        own = rated if path == texts else single
        if missing := sorted(set(own.index) - set(ids.index)):
            raise ArtifactError(f"{other}: lacks {missing[0]}, which {path.name} has; {REFETCH}")
    for id, listed in single.ratings.items():
        _check_ratings(listed, f"{ratings}: {id}")
    try:
        means = rated.rating.astype(float)
    except ValueError as error:
        raise ArtifactError(f"{texts}: a mean is not a number ({error}); {REFETCH}") from None
    table = rated.assign(
        post_id=[f"{domain}/{id}" for id in rated.index],
        domain=domain,
        group=[f"{domain}/{id.partition('_')[0]}" for id in rated.index],
        rating=means,
        ratings=single.ratings.reindex(rated.index),
    )
    return table[["post_id", "domain", "group", "text", "rating", "ratings"]]


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    """A table of one domain, by id. Only a line feed ends a line: texts may have others."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; {REFETCH}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ArtifactError(f"{path}: line {line} is not UTF-8 ({error}); {REFETCH}") from None
    rows = {}
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        fields = line.removesuffix("\r").split("\t")
        if len(fields) != len(columns) or not all(map(str.strip, fields)):
            raise ArtifactError(
                f"{path}: line {number} does not have {', '.join(columns)}, separated by tabs; "
                f"{REFETCH}"
            )
        if fields[0] in rows:
            raise ArtifactError(f"{path}: line {number} is the second of {fields[0]}; {REFETCH}")
        rows[fields[0]] = fields[1:]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns[1:])


def _check_ratings(listed: str, place: str) -> None:
    try:
        ratings = json.loads(listed)
    except ValueError:
        ratings = None
    scale = range(-MOST, MOST + 1)
    if (
        not isinstance(ratings, list)
        or len(ratings) < 2
        or any(type(rating) is not int or rating not in scale for rating in ratings)
    ):
        raise ArtifactError(
            f"{place}: {listed[:40]!r} is no list of two or more whole numbers from -{MOST} to "
            f"{MOST}; {REFETCH}"
        )
