"""Debian's package descriptions as a world: parsing, splits without leaks, the chrF rater."""

import gzip
import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from sacrebleu import sentence_chrf

from underspec.artifacts import POSTS, read_table, write_table
from underspec.data.apt import parse_stanzas
from underspec.data.documentation import glosses, prose, read_documents
from underspec.data.gold_raters import gold_reward
from underspec.data.worlds.debian import (
    DESCRIPTIONS,
    World,
    assign_splits,
    descriptions,
    documentation_packages,
    grams,
    grams_of,
    one_per_source,
    paragraphs,
    without_boilerplate,
)
from underspec.errors import ArtifactError, ConfigError, UserError

OPTIONS = {
    "seed": 0,
    "posts": {"policy": 12, "preferences": 16, "validation": 5, "best_of_n": 4},
    "max_words": 120,
    "documentation": [],
}

PACKAGES = """\
Package: hello
Source: hello (2.10-3)
Version: 2.10-3+b1
Description: greets
Description-md5: aa

Package: other
Version: 1
Description-md5: bb

Package: foreign
Description: of a third party, with no translation
 It has words.
"""

TRANSLATIONS = """\
Package: hello
Description-md5: aa
Description-en: greets the world
 It says hello.
 .
 It does so:
  * in English
  * politely

Package: other
Description-md5: an older version's
Description-en: something
 else
"""


def sentence(seed, words=20):
    """Words that nobody else uses, so that nothing repeats by chance."""
    return " ".join(f"word{seed}x{i}" for i in range(words))


def table_of(*rows):
    table = pd.DataFrame(rows, columns=list(DESCRIPTIONS))
    return table.assign(paragraphs=without_boilerplate(table))


@pytest.fixture
def raw(tmp_path):
    """Forty source packages of two binary packages each, and two lines of documentation."""
    rows = []
    for i in range(40):
        own, common = sentence(i), "Seen in the descriptions of all the packages there are."
        rows.append((f"s{i}", f"s{i}", f"what {i} does", f" {own}\n .\n {common}"))
        rows.append((f"s{i}", f"s{i}-doc", "its manual", f" {own}\n .\n {sentence(f'doc{i}')}"))
    write_table(
        pd.DataFrame(rows, columns=list(DESCRIPTIONS)),
        tmp_path / "descriptions.parquet",
        DESCRIPTIONS,
    )
    quotes_all = "".join(f"The manual quotes {sentence(i)}\n" for i in range(40))
    (tmp_path / "documentation.txt").write_text(f"A line of documentation.\n{quotes_all}")
    return tmp_path


def test_descriptions_are_joined_by_package_and_digest():
    table = descriptions(parse_stanzas(PACKAGES), parse_stanzas(TRANSLATIONS))
    assert table.values.tolist() == [
        [
            "hello",
            "hello",
            "greets the world",
            " It says hello.\n .\n It does so:\n  * in English\n  * politely",
        ]
    ]


def test_paragraphs_flow():
    assert paragraphs(" One\n  line.\n .\n It can:\n  - sing\n  - dance.\n  * and * more") == [
        "One line.",
        "It can: sing; dance. and * more",
    ]


def test_boilerplate_goes_whatever_the_packages_name():
    alphas = [f"alpha{i}" for i in range(5)]
    betas = [f"beta{i}" for i in range(4)]
    kept = table_of(
        *(
            (name, f"lib{name}", "x", f" Headers of {name}.\n .\n Own {ord(name[-1])}.")
            for name in alphas
        ),
        *((name, f"lib{name}", "x", f" Manual of {name}.") for name in betas),
    ).paragraphs
    assert kept.tolist() == [[f"Own {48 + i}."] for i in range(5)] + [
        [f"Manual of {name}."] for name in betas
    ]


def test_one_post_a_source():
    long, short = sentence("long", 31), "too short to tell"
    table = table_of(
        ("a", "a", "the main one", sentence("a")),
        ("a", "liba", "not chosen", sentence("b")),
        ("b", "b", "short", short),
        ("b", "b-longest-name", "not chosen", sentence("c")),
        ("b", "b-name", "the  shortest name", sentence("d")),
        ("c", "c", "too long", long),
        ("d", "d", "Transitional package", sentence("e")),
    )
    assert one_per_source(table, max_words=30).values.tolist() == [
        ["a", sentence("a"), "the main one"],
        ["b", sentence("d"), "the shortest name"],
    ]
    assert "c" in set(one_per_source(table, max_words=31).post_id)


def candidates(count):
    names = [f"s{i}" for i in range(count)]
    return pd.DataFrame(
        {"post_id": names, "post": [sentence(name) for name in names], "reference": "does it"}
    )


def test_splits_are_disjoint_and_do_not_depend_on_row_order():
    sizes = {"policy": 5, "preferences": 6, "validation": 2, "best_of_n": 1}
    split = assign_splits(candidates(20), sizes, seed=0)
    assert split.split.value_counts().to_dict() == sizes
    assert split.post_id.is_unique
    shuffled = assign_splits(candidates(20).sample(frac=1, random_state=1), sizes, seed=0)
    pd.testing.assert_frame_equal(split, shuffled)
    other = assign_splits(candidates(20), sizes, seed=1)
    assert split.set_index("post_id").split.to_dict() != other.set_index("post_id").split.to_dict()


def test_near_duplicates_of_earlier_splits_are_left_out():
    sizes = {"policy": 1, "validation": 1}
    table = candidates(3)
    first, second, third = assign_splits(table, {"policy": 3}, seed=0).post_id
    table = table.set_index("post_id")
    words = table.post[first].split()
    table.loc[second, "post"] = " ".join([*words[:17], "has", "a", "new", "end"])  # 10 of 14
    split = assign_splits(table.reset_index(), sizes, seed=0)
    assert split.post_id.tolist() == [first, third]
    table.loc[second, "post"] = " ".join([*words[:13], "has", "quite", "another", "end"])  # 6 of 10
    assert assign_splits(table.reset_index(), sizes, seed=0).post_id.tolist() == [first, third]
    table.loc[second, "post"] = " ".join([*words[:12], "has", "quite", "another", "end", "too"])
    assert assign_splits(table.reset_index(), sizes, seed=0).post_id.tolist() == [first, second]
    within = assign_splits(table.reset_index(), {"policy": 3}, seed=0)
    assert len(within) == 3


def test_more_posts_than_there_are():
    with pytest.raises(ConfigError, match=r"worlds\.debian\.posts\.validation: 9 .* 5 of 10"):
        assign_splits(candidates(10), {"policy": 5, "validation": 9}, seed=0)


def test_posts_keep_the_contract(raw, tmp_path):
    posts = World(OPTIONS, raw).posts()
    assert posts.split.value_counts().to_dict() == OPTIONS["posts"]
    assert set(posts.split) == {"policy", "preferences", "validation", "best_of_n"}
    assert posts.post_id.is_unique
    assert posts.post.str.split().str.len().between(15, 120).all()
    assert not posts.post.str.contains("Seen in").any()
    write_table(posts, tmp_path / "posts.parquet", POSTS)
    assert len(read_table(tmp_path / "posts.parquet", POSTS)) == 37


def test_pretraining_text_holds_nothing_held_out(raw):
    world = World(OPTIONS, raw)
    posts, lines = world.posts(), list(world.pretraining_text())
    held_out = posts[posts.split.isin(["validation", "best_of_n"])]
    seen = set().union(*map(grams, lines))
    assert seen.isdisjoint(grams_of(held_out.post))
    text = " ".join(lines)
    assert not any(sentence(f"doc{source[1:]}") in text for source in held_out.post_id)
    taught = posts[posts.split.isin(["policy", "preferences"])]
    assert all(post in text for post in taught.post)
    assert lines[0] == "A line of documentation."
    assert len(lines) == 1 + 31 + 2 * 31  # documentation, its quotes, 40 - 9 sources of two
    assert all(line and "\n" not in line for line in lines)


def test_gold_reward_is_sacrebleus_chrf():
    posts = pd.DataFrame({"post_id": ["a", "b"], "reference": ["fast text editor", "web server"]})
    samples = pd.DataFrame(
        {"post_id": ["b", "a", "a", "a"], "text": ["web server", "a text editor", "", "a server"]}
    )
    gold = gold_reward("debian", posts, samples)
    expected = [
        sentence_chrf(text, [reference]).score / 10
        for text, reference in zip(
            samples.text, ["web server", *["fast text editor"] * 3], strict=True
        )
    ]
    np.testing.assert_allclose(gold, expected)
    assert gold[0] == pytest.approx(10)
    assert gold[2] == 0


@pytest.mark.parametrize(
    ("suffix", "text", "expected"),
    [
        (
            ".rst",
            "Title\n=====\nThe :func:`~os.open` call *opens* a file and ``returns`` a number::\n\n"
            "    int fd = open(path, O_RDONLY | O_CREAT, 0644);\n\n"
            ".. note:: hidden\n\nSee `the manual <http://x>`_ for all of the many things it does.",
            [
                "The os.open call opens a file and returns a number:",
                "See the manual for all of the many things it does.",
            ],
        ),
        (
            ".pod",
            "=head2 A title\n\nUse B<I<print>>, C<< say >> or L<printf|perlfunc/printf> to write a"
            " line of text.X<index>\n\n    print 'code' x 3;\n",
            ["Use print, say or printf to write a line of text."],
        ),
        (
            ".dict",
            'Cat \\Cat\\, n. [OE. [AS.] cat.]\n   An animal of the {family} of cats, "tame".\n'
            "   [1913 Webster]\n\nDog\n   Short.\n",
            ['Cat, n. An animal of the family of cats, "tame".'],
        ),
        (
            ".html",
            "<h1>Title</h1><p class='x'>This &amp; that is <b>said</b> in a paragraph.</p><pre>x",
            ["This & that is said in a paragraph."],
        ),
    ],
)
def test_prose_without_markup(suffix, text, expected):
    assert prose(text, suffix) == expected


def test_glosses():
    line = "00211593 04 n 01 follow_through 0 002 @ 00211110 n 0000 | carrying it out;  to the end "
    assert glosses(f"  1 a licence\n{line}\n") == ["follow through: carrying it out; to the end"]


def test_documents_of_a_package(tmp_path):
    text = "This sentence is number {} of the documents in a package."
    (tmp_path / "a.rst.gz").write_bytes(gzip.compress(text.format(1).encode()))
    (tmp_path / "changelog.gz").write_bytes(gzip.compress(text.format(2).encode()))
    (tmp_path / "b.html").write_text(f"<p>{text.format(3)}</p>")
    assert list(read_documents(tmp_path)) == [text.format(1)]
    (tmp_path / "a.rst.gz").unlink()
    assert list(read_documents(tmp_path)) == [text.format(3)]


def test_metapackages_lead_to_the_documentation_they_depend_on():
    packages = [
        {"Package": "linux-doc", "Depends": "linux-doc-6.1 (= 6.1.1-1), libc6 (>= 2)"},
        {"Package": "linux-doc-6.1"},
        {"Package": "perl-doc", "Depends": "perl"},
        {"Package": "perl"},
    ]
    found = documentation_packages(["perl-doc", "linux-doc", "linux-doc-6.1"], packages)
    assert found == ["perl-doc", "linux-doc", "linux-doc-6.1"]
    with pytest.raises(UserError, match="no package 'python9-doc'; leave it out"):
        documentation_packages(["python9-doc"], packages)


def test_missing_raw_files(tmp_path):
    with pytest.raises(ArtifactError, match=r"descriptions\.parquet: no such file"):
        World(OPTIONS, tmp_path).posts()


@pytest.mark.parametrize("wrong", [{"max_words": 14}, {"seed": -1}, {"posts": {}}, {"unknown": 1}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ConfigError):
        World({**OPTIONS, **wrong})


def test_a_system_without_apt(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get: no such program; .* choose another world"):
        World.fetch(tmp_path / "raw", documentation=[])


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo first >&2; echo E: disk full >&2; exit 100", r"failed \(E: disk full\); check"),
        ("echo W: no network >&2", r"downloaded no package descriptions; .* \(W: no network\)"),
    ],
)
def test_an_archive_that_cannot_be_had(tmp_path, monkeypatch, script, message):
    fake = tmp_path / "apt-get"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UserError, match=message):
        World.fetch(tmp_path / "raw", documentation=[])


@pytest.mark.slow
def test_fetch_from_the_archive(tmp_path):
    """Needs a Debian system and its archive: some 20 MB."""
    sizes = {"policy": 2000, "preferences": 2000, "validation": 500, "best_of_n": 100}
    world = World({**OPTIONS, "posts": sizes, "documentation": ["dict-foldoc"]}, tmp_path)
    World.fetch(tmp_path, documentation=["dict-foldoc"])
    facts = json.loads((tmp_path / "sources.json").read_text())
    assert set(facts["versions"]) == {"dict-foldoc"}
    for name, digest in facts["sha256"].items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    posts = world.posts()
    assert posts.split.value_counts().to_dict() == sizes
    assert 4 <= posts.reference.str.split().str.len().median() <= 9
    lines = list(world.pretraining_text())
    assert sum(len(line.split()) for line in lines) > 1e6
    held_out = posts[posts.split.isin(["validation", "best_of_n"])]
    shared = grams_of(lines) & grams_of(held_out.post)  # only across the ends of paragraphs
    assert len(shared) < 1e-4 * len(grams_of(held_out.post))
