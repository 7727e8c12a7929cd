"""Badges: a level and what it came to, as a picture and as the JSON that shields.io reads. Pure.

The JSON is that of shields' endpoint badges (https://shields.io/badges/endpoint-badge).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final
from xml.etree.ElementTree import Element, tostring

from routerspec.markup.elements import element
from routerspec.publish.conformance import Conformance, levels, spec_of
from routerspec.publish.rules import Published, findings
from routerspec.verdict import Standing

_COLOURS: Final = {
    Standing.HELD: ("brightgreen", "#1a7f37"),
    Standing.DISCOURAGED: ("yellowgreen", "#4d6b00"),
    Standing.INCONCLUSIVE: ("yellow", "#8a5a00"),
    Standing.VIOLATED: ("red", "#cf222e"),
}
"""Standing -> shields' name of its colour, and the colour of our picture: white on it is read."""
_OTHER: Final = ("lightgrey", "#59636e")
_WIDE: Final = 6.6
"""Pixels of a letter at 11 px, on average: the texts are stretched to what that comes to."""
_ROOM: Final = 10


def files(result: Published) -> Iterator[tuple[str, bytes]]:
    """(name within the published folder, content) of the badges of every level that applies."""
    for its in levels(findings(result.verdicts)):
        yield f"badge-{its.level}.svg", svg(its, spec_of(result))
        yield f"badge-{its.level}.json", shields(its, spec_of(result))


def shields(its: Conformance, spec: str) -> bytes:
    """The JSON of an endpoint badge."""
    badge = {
        "schemaVersion": 1,
        "label": _label(its, spec),
        "message": _message(its),
        "color": _COLOURS.get(its.standing, _OTHER)[0],
    }
    return json.dumps(badge, indent=2).encode() + b"\n"


def svg(its: Conformance, spec: str) -> bytes:
    """The badge as a picture that needs no network and no font of its own."""
    label, message = _label(its, spec), _message(its)
    left, right = (_ROOM + _WIDE * len(text) for text in (label, message))
    title = f"{label}: {message}"
    picture = element(
        "svg",
        element("title", title),
        element("rect", width=left, height=20, fill="#1f2328"),
        element(
            "rect",
            x=left,
            width=right,
            height=20,
            fill=_COLOURS.get(its.standing, _OTHER)[1],
        ),
        element(
            "g",
            _text(label, left / 2, left - _ROOM),
            _text(message, left + right / 2, right - _ROOM),
            fill="#fff",
            text_anchor="middle",
            font_family="Verdana,DejaVu Sans,sans-serif",
            font_size=11,
        ),
        xmlns="http://www.w3.org/2000/svg",
        width=left + right,
        height=20,
        role="img",
        aria_label=title,
    )
    text: str = tostring(picture, encoding="unicode")
    return f"{text}\n".encode()


def _text(text: str, at: float, width: float) -> Element:
    return element("text", text, x=at, y=14, textLength=width)


def _label(its: Conformance, spec: str) -> str:
    return f"routerspec {its.level} {spec}"


def _message(its: Conformance) -> str:
    return f"{its.words} held"
