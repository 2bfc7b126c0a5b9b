"""Text that would break a page if it stood there as markup."""

from markupsafe import escape

MARKUP = """<b>a</b> & </script><script>b()</script> "c" </pre></td>"""


def check_escaped(html, times=1):
    """MARKUP stands in the page as text, and nowhere as markup."""
    assert html.count(str(escape(MARKUP))) == times
    assert MARKUP not in html and "<script>b" not in html
