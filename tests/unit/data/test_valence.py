"""Rated snippets as a world: files with their oddities, splits without leaks, raters' halves."""

import hashlib
import io
import json
import tarfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetch import fetch
from judgements import judgements as write_judgements
from underspec.artifacts import POSTS, RATINGS, read_table, write_table
from underspec.data import source_distributions
from underspec.data.judgements.valence import judgements
from underspec.data.rated_snippets import DOMAINS, read_snippets, words
from underspec.data.worlds import valence
from underspec.data.worlds.valence import World, assign_splits, halved
from underspec.errors import ArtifactError, ConfigError, UserError

OPTIONS = {
    "seed": 0,
    "policy_domain": "films",
    "posts": {"policy": 12, "preferences": 24, "validation": 10, "best_of_n": 4},
    "source": None,
}
GROUPED = ("products", "editorials")  # whose ids are those of a review or an editorial


def snippet(domain, number, size=9):
    return " ".join(f"{domain}{number}x{i}" for i in range(size))


def files(rows):
    """What two files hold: rows of id, mean, text and ratings, as they were published."""
    texts, ratings = [], []
    for id, mean, text, listed in rows:
        texts.append(f"{id}\t{mean}\t{text}\r\n")
        ratings.append(f"{id}\t{np.mean(listed):.9f}\t{np.std(listed):.5f}\t{listed}\r\n")
    return "".join(texts).encode(), "".join(ratings).encode()


def write(folder, domain, rows, bom=b""):
    texts, ratings = files(rows)
    (folder / f"{DOMAINS[domain]}_GroundTruth.txt").write_bytes(texts)
    (folder / f"{DOMAINS[domain]}_anonDataRatings.txt").write_bytes(bom + ratings)


def rows_of(domain, count=40):
    """Four snippets of a review or an editorial; the ratings of each are its own."""
    for i in range(count):
        ratings = [i % 5 - 2, 1, 0, -1, i % 3]
        id = f"{i // 4 + 1}_{i % 4 + 1}" if domain in GROUPED else str(i + 1)
        yield id, round(np.mean(ratings), 11), snippet(domain, i), ratings


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for domain in DOMAINS:
        write(folder, domain, rows_of(domain), b"\xef\xbb\xbf" if domain == "products" else b"")
    return folder


def of(table, domain):
    return table[table.domain == domain].set_index("post_id")


def test_texts_are_read_as_they_were_published(raw):
    """A mark at the beginning, entities, letters beyond ASCII, separators that end no line."""
    rows = [
        ("1", 0.5, "I &lt;3 caf\u00e9s  &amp; \u201cquotes\u201d ", [1, 0]),
        ("2", -1.5, "no\u2028end\x85of\xa0a line", [-1, -2]),
    ]
    write(raw, "tweets", rows)
    table = read_snippets(raw, min_words=1)
    tweets = of(table, "tweets")
    assert tweets.text.tolist() == ["I <3 caf\u00e9s & \u201cquotes\u201d", "no end of a line"]
    assert tweets.rating.tolist() == [0.5, -1.5]
    assert "products/1_1" in of(table, "products").index  # and not the mark and 1_1
    assert table.attrs["dropped"] == {}


def test_texts_and_ratings_are_joined_by_id(raw):
    """In the published files the order of reviews is not the same."""
    texts, _ = files(list(rows_of("products")))
    _, ratings = files(list(rows_of("products"))[::-1])
    (raw / f"{DOMAINS['products']}_GroundTruth.txt").write_bytes(texts)
    (raw / f"{DOMAINS['products']}_anonDataRatings.txt").write_bytes(ratings)
    table = of(read_snippets(raw, 1), "products")
    assert len(table) == 40
    assert json.loads(table.ratings["products/1_3"]) == [0, 1, 0, -1, 2]


def test_what_cannot_be_used_is_left_out_and_counted(raw):
    rows = [
        ("1", 0.5, "seven words are one less than eight", [1, 0]),
        ("2", 0.5, "these are eight words that only differ, below!", [1, 0]),
        ("3", 0.0, "These ARE eight words; that only differ below", [1, -1]),
        ("4", 0.75, "these have the ratings of quite another text", [1, 0]),
        ("5", 0.5, "These have the ratings of quite another text", [1, 0]),
    ]
    write(raw, "tweets", rows)
    table = read_snippets(raw, min_words=8)
    assert of(table, "tweets").index.tolist() == ["tweets/2", "tweets/5"]
    assert table.attrs["dropped"] == {
        "tweets": {
            "of fewer than 8 words": 1,
            "whose ratings have another mean": 1,
            "with the words of an earlier one": 1,
        }
    }


def test_words_of_an_earlier_snippet_are_left_out_in_other_domains_too(raw):
    rows = list(rows_of("films", 1))
    write(raw, "editorials", [("1_1", *rows[0][1:])])
    assert of(read_snippets(raw, 8), "editorials").empty


RATED = "tweets_anonDataRatings.txt"
TEXTS = "tweets_GroundTruth.txt"
LINE = b"1\t0.5\tone two\r\n"
DAMAGED = [
    (TEXTS, LINE + b"2\t0.5\tcaf\xe9\r\n", "line 2 is not UTF-8"),
    (TEXTS, LINE + b"2\t0.5\r\n", "line 2 does not have id, rating, text"),
    (TEXTS, LINE + b"2\t0.5\t \r\n", "line 2 does not have id, rating, text"),
    (TEXTS, LINE + b"\r\n", "line 2 does not have id, rating, text"),
    (TEXTS, b"", "line 1 does not have id, rating, text"),
    (TEXTS, LINE + b"2\t0.5\ta\tb\r\n", "line 2 does not have id, rating, text"),
    (TEXTS, LINE + LINE, "line 2 is the second of 1;"),
    (TEXTS, b"1\thigh\tone two\r\n", "a mean is not a number .*high"),
    (RATED, b"2\t0.5\t0.5\t[0, 1]\r\n", "lacks 1, which tweets_GroundTruth.txt has"),
    (TEXTS, LINE + b"2\t0.5\tthree\r\n", "anonDataRatings.txt: lacks 2, which"),
    *(
        (RATED, b"1\t0.5\t0.5\t%s\r\n" % listed, "1: .* is no list of two or more whole numbers")
        for listed in (
            b"[0, 5]",
            b"[0, -5]",
            b"[0]",
            b"[]",
            b"[0, 0.5]",
            b"[true, 0]",
            b"7",
            b"[0,",
        )
    ),
]


@pytest.mark.parametrize(("name", "content", "said"), DAMAGED)
def test_a_damaged_file_is_refused_by_name(raw, name, content, said):
    write(raw, "tweets", [("1", 0.5, "one two", [0, 1])])
    (raw / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"raw/tweets_.*{said}.*run Snakemake again"):
        read_snippets(raw, 1)


def test_a_missing_file_is_named(raw):
    (raw / TEXTS).unlink()
    with pytest.raises(ArtifactError, match=f"{TEXTS}: no such file"):
        read_snippets(raw, 1)


@given(st.lists(st.text(alphabet="ab,", min_size=1), min_size=8, max_size=30))
def test_two_halves_hold_every_word(parts):
    first, second = halved(" ".join(parts))
    assert f"{first} {second}".split() == parts
    assert 0 <= len(second.split()) - len(first.split()) <= 1
    assert words(f"{first} {second}") == words(" ".join(parts))


def group_of(post_id):
    return post_id.partition("_")[0]


def test_the_policy_s_domain_is_learned_by_no_reward_model(raw):
    posts = World(OPTIONS, raw).posts()
    assert posts.split.value_counts().to_dict() == OPTIONS["posts"]
    domains = posts.groupby("split").domain.unique().map(set).to_dict()
    assert domains["policy"] == domains["best_of_n"] == {"films"}
    assert domains["preferences"] == {"products", "editorials", "tweets"}
    held_out = posts[posts.split == "validation"].domain
    assert held_out.iloc[0] == "films"  # RLHF centres rewards on the first posts of this split
    assert sorted(held_out.value_counts()) == [2, 2, 3, 3]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("policy_domain", DOMAINS)
def test_no_two_splits_share_a_review_or_an_editorial(seed, policy_domain):
    rows = [
        (f"{domain}/{id}", domain, f"{domain}/{group_of(id)}")
        for domain in DOMAINS
        for id, *_ in rows_of(domain)
    ]
    snippets = pd.DataFrame(rows, columns=["post_id", "domain", "group"])
    posts = assign_splits(snippets, OPTIONS["posts"], policy_domain, seed)
    assert posts.post_id.is_unique
    assert (posts.groupby("group").split.nunique() == 1).all()
    again = assign_splits(snippets[::-1], OPTIONS["posts"], policy_domain, seed)
    assert set(again.group) == set(posts.group)


def test_too_few_snippets_are_refused_by_key(raw):
    options = OPTIONS | {"posts": OPTIONS["posts"] | {"policy": 100}}
    with pytest.raises(ConfigError, match=r"^worlds\.valence\.posts\.policy: 100 posts of films"):
        World(options, raw).posts()


def test_pretraining_text_has_nothing_that_is_held_out(raw):
    world = World(OPTIONS, raw)
    posts, text = world.posts(), set(world.pretraining_text())
    whole = posts.post + " " + posts.reference
    learned = posts.split.isin(["policy", "preferences"])
    assert text == set(whole[learned]) and len(text) == learned.sum()


def test_judgements_are_the_mean_ratings_and_halves_are_of_all_raters(raw):
    posts = World(OPTIONS, raw).posts()
    table = judgements(posts, 0, 1)
    assert set(table.split) == {"preferences", "validation"} and len(table) == 34
    merged = table.merge(posts, on="post_id", suffixes=("", "_of_post"))
    assert (merged.statement == merged.reference).all() and (merged.source == merged.domain).all()
    np.testing.assert_allclose(merged.label, merged.rating)
    # Five raters: two in one half, three in the other.
    np.testing.assert_allclose((2 * table.half + 3 * table.other_half) / 5, table.label, atol=1e-9)
    assert judgements(posts, 0, 1).equals(table)
    assert not judgements(posts, 1, 1).half.equals(table.half)
    with pytest.raises(ConfigError, match=r"^judgements\.per_post: 2 is not 1"):
        judgements(posts, 0, 2)


def test_the_stage_writes_ratings_that_can_be_read(raw, tmp_path):
    posts = World(OPTIONS, raw).posts()
    write_table(posts, tmp_path / "posts.parquet", POSTS)
    output = tmp_path / "judgements.parquet"
    write_judgements(
        world="valence",
        options={},
        posts=tmp_path / "posts.parquet",
        seed=0,
        per_post=1,
        output=output,
    )
    read = read_table(output, RATINGS)
    assert len(read) == 34 and read.label.between(-4, 4).all()


@pytest.fixture
def distribution(raw, tmp_path):
    """A source distribution with the files of `raw`."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        for path in raw.iterdir():
            archive.add(path, f"hutto_ICWSM_2014/{path.name}")
    path = tmp_path / "vaderSentiment-3.3.2.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(
            "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
        )
        member.size = len(inner.getvalue())
        archive.addfile(member, io.BytesIO(inner.getvalue()))
    return path


def test_a_local_file_is_unpacked_if_it_is_the_published_one(
    distribution, raw, tmp_path, monkeypatch
):
    output, options = tmp_path / "fetched", {"source": str(distribution)}
    with pytest.raises(UserError, match=r"its SHA-256 is [0-9a-f]{64}, not 5d7c06e0"):
        fetch(world="valence", options=options, output=output)
    digest = hashlib.sha256(distribution.read_bytes()).hexdigest()
    monkeypatch.setattr(valence, "PACKAGE", (*valence.PACKAGE[:2], digest))
    fetch(world="valence", options=options, output=output)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == {
        path.name: path.read_bytes() for path in raw.iterdir()
    }
    with pytest.raises(UserError, match=r"gone\.tar\.gz: no such file; correct its path"):
        fetch(world="valence", options={"source": "gone.tar.gz"}, output=output)


def no_index(monkeypatch, folder):
    """pip as on a machine without internet, with the files of `folder`."""
    for name, value in {
        "NO_INDEX": "1",
        "FIND_LINKS": str(folder),
        "CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(f"PIP_{name}", value)


def test_without_internet_the_cure_is_named(tmp_path, monkeypatch):
    no_index(monkeypatch, tmp_path)
    said = r"pip cannot download vaderSentiment 3\.3\.2 \(.*No matching|could not find a version"
    with pytest.raises(UserError, match=rf"(?i){said}") as caught:
        fetch(world="valence", options={"source": None}, output=tmp_path / "fetched")
    assert "name the file vaderSentiment-3.3.2.tar.gz under worlds.valence.source" in str(
        caught.value
    )


def test_pip_runs_nothing_of_another_file(tmp_path, monkeypatch):
    """It compares the digest before it runs setup.py."""
    path = tmp_path / "thing-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        script = f"open({str(tmp_path / 'ran')!r}, 'w')".encode()
        member = tarfile.TarInfo("thing-1.0/setup.py")
        member.size = len(script)
        archive.addfile(member, io.BytesIO(script))
    no_index(monkeypatch, tmp_path)
    (tmp_path / "download").mkdir()
    with pytest.raises(UserError, match="(?i)do not match the hashes"):
        source_distributions.download("thing", "1.0", "0" * 64, tmp_path / "download")
    assert not (tmp_path / "ran").exists()
