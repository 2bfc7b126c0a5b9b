"""Pages as such: text is escaped, templates are strict."""

import base64
import gzip
import json
import re

import jinja2
import pytest

from underspec.errors import ArtifactError
from underspec.report.pages import human_bytes, packed, write_page


def test_text_is_escaped_and_a_missing_value_is_an_error(tmp_path):
    (tmp_path / "page.html").write_text("<p>{{ text }}</p>")
    write_page(tmp_path / "page.html", tmp_path / "out" / "page.html", text="<i>&")
    assert (tmp_path / "out" / "page.html").read_text() == "<p>&lt;i&gt;&amp;</p>"
    with pytest.raises(jinja2.UndefinedError):
        write_page(tmp_path / "page.html", tmp_path / "page2.html")


def test_a_template_that_is_not_there(tmp_path):
    with pytest.raises(ArtifactError, match=r"gone\.html: no such template"):
        write_page(tmp_path / "gone.html", tmp_path / "page.html")


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "ünï\u2028", 'a "b" \\ c'])
def test_packed_text_ends_no_script_and_comes_back(text, tmp_path):
    (tmp_path / "page.html").write_text("{{ data | packed }}")
    write_page(tmp_path / "page.html", tmp_path / "out.html", data={"text": text})
    script = (tmp_path / "out.html").read_text()
    assert re.fullmatch("[A-Za-z0-9+/=]+", script)
    assert json.loads(gzip.decompress(base64.b64decode(script))) == {"text": text}


def test_what_is_packed_depends_on_the_data_alone():
    assert packed([1, 2]) == packed([1, 2]) != packed([1, 3])


def test_packed_numbers_are_finite():
    with pytest.raises(ValueError):
        packed(float("nan"))


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (1_234, "1.23 kB"), (25.3e9, "25.3 GB")]
)
def test_sizes_of_files(count, words):
    assert human_bytes(count) == words
