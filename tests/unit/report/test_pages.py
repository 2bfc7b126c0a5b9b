"""Pages as such: text is escaped, templates are strict."""

import json

import jinja2
import pytest
from markupsafe import Markup

from underspec.errors import ArtifactError
from underspec.report.pages import embedded, human_bytes, write_page


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
def test_embedded_text_ends_no_script(text):
    script = embedded({"text": text})
    assert isinstance(script, Markup) and "<" not in script
    assert json.loads(script) == {"text": text}


def test_embedded_numbers_are_finite():
    with pytest.raises(ValueError):
        embedded(float("nan"))


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (1_234, "1.23 kB"), (25.3e9, "25.3 GB")]
)
def test_sizes_of_files(count, words):
    assert human_bytes(count) == words
