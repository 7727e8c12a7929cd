"""Tables: as Markdown, and in a terminal, whatever its width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from routerspec.markup import markdown, paragraphs
from routerspec.markup.tables import Column, Span, Table

TABLE = Table(
    [Column("check"), Column("n", right=True), Column(fit="wrap")],
    [
        [Span("cap/streams", code=True), "7", "nine calls at once, and the cap is four"],
        ["other", Span("1234", bold=True, style="red"), ["short", Span("aside", below=True)]],
    ],
)


def shown(table: Table, width: int = 80, *, terminal: bool = True, colour: bool = False) -> str:
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=terminal,
        color_system="standard" if colour else None,
    )
    table.render(console)
    return out.getvalue()


def test_as_markdown() -> None:
    assert TABLE.markdown().splitlines() == [
        "| check | n |  |",
        "|---|---:|---|",
        "| `cap/streams` | 7 | nine calls at once, and the cap is four |",
        "| other | **1234** | short (aside) |",
    ]


def test_in_a_terminal_that_is_wide_enough() -> None:
    assert shown(TABLE).splitlines() == [
        "check           n",
        "cap/streams     7  nine calls at once, and the cap is four",
        "other        1234  short",
        "                   aside",
    ]


def test_a_narrow_terminal_wraps_between_words() -> None:
    assert shown(TABLE, 42).splitlines()[1:3] == [
        "cap/streams     7  nine calls at once, and",
        "                   the cap is four",
    ]


def test_a_narrow_terminal_shortens_between_words() -> None:
    table = Table([Column(), Column(fit="shorten")], [["a", "one two three"], ["b", "fits here"]])
    assert shown(table, 13).splitlines() == ["a  one two …", "b  fits here"]
    wide = [["a", "\u6f22\u5b57 \u6f22\u5b57\u6f22\u5b57 \u6f22"]]
    assert shown(Table(table.columns, wide), 15).splitlines() == ["a  \u6f22\u5b57 …"]


@pytest.mark.parametrize("fit", ["wrap", "shorten"])
def test_where_there_is_no_terminal_lines_are_whole(fit: str) -> None:
    long = " ".join(["word"] * 100)
    table = Table([Column(), Column(fit=fit)], [["a", long]])  # type: ignore[arg-type]
    assert shown(table, terminal=False).splitlines() == [f"a  {long}"]


def test_a_style_is_for_terminals_and_markup_is_text() -> None:
    assert "\x1b[31m1234" in shown(TABLE, colour=True)
    assert shown(Table([Column()], [["[red]a[/red]"]])) == "[red]a[/red]\n"


def test_rows_may_stand_apart() -> None:
    assert shown(Table([Column("n")], [["1"], ["2"]], apart=True)) == "n\n\n1\n\n2\n"


def test_foreign_text_breaks_no_table() -> None:
    hostile = "a|b\n| c | <b>\x1b[2J @all http://x.org"
    table = Table([Column("x"), Column()], [[hostile, hostile]])
    assert len(table.markdown().splitlines()) == 3
    assert "<b>" not in table.markdown()
    assert shown(table, terminal=False).count("\n") == 2
    assert "\x1b" not in shown(table)


def test_links_of_markdown() -> None:
    assert markdown.link("a/b#7", "https://x.org/7") == "[a/b#7](https://x.org/7)"
    assert markdown.link("https://x.org/a_b", "https://x.org/a_b") == "<https://x.org/a_b>"
    assert markdown.link("no", "https://x.org/a b)") == "no"


def test_an_underscore_within_a_word_needs_no_escape() -> None:
    assert markdown.inline("openai_key _a_ b__c") == r"openai_key \_a\_ b\_\_c"


def test_a_paragraph_is_wrapped_in_a_terminal_alone() -> None:
    out = io.StringIO()
    narrow = Console(file=out, width=12, force_terminal=True, color_system=None)
    paragraphs.write(narrow, "one two three", lead=paragraphs.BULLET)
    paragraphs.write(Console(file=out, width=12), "one two [three]\x1b", lead=paragraphs.BULLET)
    assert out.getvalue() == "  - one two\n    three\n  - one two [three]\u241b\n"
