"""Links of proxied pages."""

from __future__ import annotations

import pytest

from navarch.apiserver.http import links

PREFIX = "/api/v1/namespaces/a/services/b/proxy"
REWRITE = links.rewriter(PREFIX, frozenset({"10.0.0.1:80", "server"}))


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("/x", f"{PREFIX}/x"),
        ("/x/?q=1#f", f"{PREFIX}/x/?q=1#f"),
        ("http://10.0.0.1:80/x", f"{PREFIX}/x"),
        ("http://elsewhere/x", "http://elsewhere/x"),
        ("relative", "relative"),
        (f"{PREFIX}/x", f"{PREFIX}/x"),
        ("http://[broken", "http://[broken"),
    ],
)
def test_urls(url: str, wanted: str) -> None:
    assert REWRITE(url) == wanted


def test_page() -> None:
    text = "<p title='/no'><a class=x href='/a?b=1&amp;c=2'>/b</a><img src=/i.png><a href=\"http://e/\">e</a>"
    assert links.page(text, REWRITE) == (
        f'<p title=\'/no\'><a class=x href="{PREFIX}/a?b=1&amp;c=2">/b</a><img src="{PREFIX}/i.png"><a href="http://e/">e</a>'
    )
