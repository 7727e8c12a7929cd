"""The frame of each page of the site: head, style, and a policy that forbids all that is not ours.

The policy allows no address at all, and the one script by its hash, so that no text of a router can
reach out or run, even where escaping failed.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from xml.etree.ElementTree import tostring

from routerspec.markup.elements import Child, element

_OPENS = "<script>"


def document(title: str, *body: Child, script: str = "") -> str:
    """A whole page. ``script``: its text; empty: none."""
    style = files("routerspec.report.html").joinpath("style.css").read_text(encoding="utf-8")
    own = files("routerspec.publish.site").joinpath("site.css").read_text(encoding="utf-8")
    page = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", title),
            element("style", style + own),
        ),
        element("body", *body),
        lang="en",
    )
    text: str = tostring(page, encoding="unicode", method="html")
    # A script is no text that is escaped: it goes in as it is.
    text = text.replace("</body>", f"{_OPENS}{script}</script></body>" if script else "</body>")
    return f"<!doctype html>\n{text}\n"


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    scripts = f"; script-src 'sha256-{digest}'" if script else ""
    return (
        f"default-src 'none'; style-src 'unsafe-inline'{scripts}; base-uri 'none'; "
        "form-action 'none'"
    )
