"""Elements of HTML, SVG and XML, escaped by construction. Pure.

Decides how a text from a router, a prompt or a target file becomes harmless: it can only ever be
text, and it is ``clean``, so that it has no character that XML 1.0 forbids. Refuses to know any
document.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias
from xml.etree.ElementTree import Element

from routerspec.markup.plain import clean

Child: TypeAlias = "Element | str | Iterable[Child] | None"
Value = str | int | float | bool | None


def element(name: str, /, *children: Child, **attributes: Value) -> Element:
    """``<name ...>children</name>``; strings are text, None is left out.

    Attributes: ``class_`` is ``class``, ``stroke_width`` is ``stroke-width``; None and False are
    left out, True stands by itself.
    """
    made = Element(name)
    for key, value in attributes.items():
        if value is not None and value is not False:
            text = "" if value is True else _number(value)
            made.set(key.rstrip("_").replace("_", "-"), text)
    add(made, *children)
    return made


def add(parent: Element, *children: Child) -> None:
    """Put more children at the end of ``parent``."""
    for child in children:
        if child is None:
            continue
        if isinstance(child, str):
            _add_text(parent, clean(child))
        elif isinstance(child, Element):
            parent.append(child)
        else:
            add(parent, *child)


def _add_text(parent: Element, text: str) -> None:
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def _number(value: str | float) -> str:
    return clean(value) if isinstance(value, str) else f"{value:.6g}"
