"""The digest of a stage's code changes with what the code does, and with nothing else."""

import pytest

from underspec.provenance.fingerprint import fingerprint

FILES = {
    "stage.py": '''
"""What the stage does."""

import numpy as np

import tools.text
from tools import numbers


def stage(count: int = 3) -> int:
    """Count."""
    return numbers.double(count)
''',
    "tools/__init__.py": "",
    "tools/text.py": "WORDS = ['a']\n",
    "tools/numbers.py": "from tools.deep.down import TWO\n\n\ndef double(x):\n    return TWO * x\n",
    "tools/deep/__init__.py": "",
    "tools/deep/down.py": "TWO = 2\n",
    "tools/unrelated.py": "NOTHING = 0\n",
    "other_stage.py": "import tools.unrelated\n",
}


@pytest.fixture
def digest(tmp_path_factory):
    """The fingerprint of stage.py among FILES, some of them changed."""

    def digest(changes=None):
        root = tmp_path_factory.mktemp("scripts")
        for name, text in {**FILES, **(changes or {})}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return fingerprint(root, root / "stage.py")

    return digest


def edit(file, old, new):
    assert old in FILES[file]
    return {file: FILES[file].replace(old, new)}


def test_the_place_of_the_code_does_not_matter(digest):
    assert digest() == digest()


@pytest.mark.parametrize(
    "changes",
    [
        edit("stage.py", "    return", "    # why\n    return"),
        edit("stage.py", "What the stage does", "What it does and why"),
        edit("stage.py", '    """Count."""\n', ""),
        edit("stage.py", "(count: int = 3)", "(\n    count: int = 3,\n)"),
        edit("tools/text.py", "['a']", '["a"]  # a word'),
        edit("tools/deep/down.py", "TWO = 2", "TWO = (2)\n\n"),
        edit("tools/unrelated.py", "0", "1"),
        edit("other_stage.py", "import", "print()\nimport"),
        {"tools/new.py": "NEW = 1\n"},
    ],
)
def test_comments_docstrings_layout_and_unrelated_code_do_not_count(digest, changes):
    assert digest(changes) == digest()


@pytest.mark.parametrize(
    "changes",
    [
        edit("stage.py", "= 3", "= 4"),
        edit("stage.py", "return ", "return 1 + "),
        edit("tools/text.py", "'a'", "'b'"),  # import x.y
        edit("tools/numbers.py", "TWO * x", "x * TWO"),  # from x import y
        edit("tools/deep/down.py", "2", "3"),  # imported by an import
        {"tools/__init__.py": "SIDE = 1\n"},  # a package that is only passed through
        {"tools/deep/__init__.py": "SIDE = 1\n"},
    ],
)
def test_what_the_code_does_counts_imports_and_packages_included(digest, changes):
    assert digest(changes) != digest()


def test_a_string_that_is_no_docstring_counts(digest):
    printing = edit("stage.py", "return numbers", "print('told')\n    return numbers")
    asked = edit("stage.py", "return numbers", "print('asked')\n    return numbers")
    assert digest(printing) != digest(asked)


def test_several_files_at_once_and_in_any_order(tmp_path):
    (tmp_path / "a.py").write_text("A = 1\n")
    (tmp_path / "b.py").write_text("B = 1\n")
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    assert fingerprint(tmp_path, a, b) == fingerprint(tmp_path, b, a)
    assert len({fingerprint(tmp_path, *files) for files in ((a, b), (a,), (b,))}) == 3


def test_every_python_finds_the_same_digest(digest):
    """Another digest reruns every stage that anybody has finished: weeks of GPU time."""
    assert digest() == "9146fc9470ab58f7"


@pytest.mark.parametrize("module", ["config/sections", "recipe", "schema"])
def test_how_options_are_checked_does_not_count(tmp_path, module):
    """Else a new bound would throw pretrained checkpoints away."""
    digests = set()
    for number in (1, 2):
        root = tmp_path / str(number)
        (root / f"underspec/{module}.py").parent.mkdir(parents=True)
        name = f"underspec/{module}".replace("/", ".")
        (root / "stage.py").write_text(f"from {name} import A\n")
        (root / f"underspec/{module}.py").write_text(f"A = {number}\n")
        digests.add(fingerprint(root, root / "stage.py"))
    assert len(digests) == 1
