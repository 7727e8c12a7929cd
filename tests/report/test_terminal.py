"""The terminal report: readable at 80 columns, in colour only where there is any."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from rich.console import Console

from routerspec.judge import judge
from routerspec.report import terminal, words
from routerspec.verdict import UNSTEADY, Outcome, Refusals, Verdict
from tests.corpus import judged
from tests.corpus.builder import Start, run_of
from tests.corpus.make import BAD, GOOD
from tests.report.stories import EVERY, verdict_of

FOLDER = ".routerspec/runs/20261101-120000-made-up"


def text(verdict: Verdict, *, width: int = 80, **console: Any) -> str:
    out = io.StringIO()
    options = {"force_terminal": True, "color_system": None} | console
    terminal.render(verdict, Console(file=out, width=width, **options), FOLDER)
    return out.getvalue()


def joined(shown: str) -> str:
    return " ".join(shown.split())


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    "name",
    [f"good/{name}" for name in sorted(GOOD)]
    + [f"bad/{check.replace('/', '--')}" for check in sorted(BAD)],
)
def test_a_verdict_fits_its_terminal_and_ends_with_the_next_command(name: str, width: int) -> None:
    verdict = judged.verdict(name)
    shown = text(verdict, width=width)
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= width
    assert "\x1b" not in shown
    assert joined(shown).endswith(f"Run saved in {FOLDER}")
    lines = shown.splitlines()
    table = lines.index("") + 1
    rows = lines[table : table + len(verdict.checks)]
    assert [row.split()[0] for row in rows] == [c.id for c in verdict.checks], "one line each"


def test_what_is_absent_and_what_was_refused_comes_before_the_checks() -> None:
    verdict = dataclasses.replace(
        judged.verdict("good/limits-of-a-semaphore"),
        absent=("openai:embeddings",),
        refusals=(Refusals(start="load", status=429, count=7, requests=9),),
    )
    first, _, _ = text(verdict).partition("\n\n")
    assert "not there, and not tried: openai:embeddings" in joined(first)
    assert "start load: 7 of 9 requests were refused by the router itself with 429" in joined(first)


def test_a_violation_shows_its_witness_and_the_next_command() -> None:
    verdict = judged.verdict("bad/cap--streams")
    shown = text(verdict)
    check = next(c for c in verdict.checks if c.witness)
    assert check.witness is not None
    assert check.witness.sentence in joined(shown)
    assert all(fact in joined(shown) for fact in check.witness.facts)
    assert "Next: `routerspec explain cap/streams`." in joined(shown)
    assert joined(shown).index("cap/streams: violated") < joined(shown).index("never played:")


def test_a_reason_that_several_checks_share_is_printed_once() -> None:
    shown = text(judged.verdict("bad/answers--own"))
    assert joined(shown).count("never played: hold-head") == 1


def test_a_narrow_terminal_shortens_a_summary_between_words() -> None:
    verdict = judged.verdict("bad/cap--streams")
    for check, row in zip(verdict.checks, text(verdict).splitlines()[2:], strict=False):
        shown = row.removesuffix(" …")
        assert f"{check.summary} ".startswith(f"{shown.split('  ')[-1].strip()} ")


def test_where_no_terminal_is_no_line_of_the_table_is_too_long() -> None:
    verdict = judged.verdict("bad/cap--streams")
    shown = text(verdict, force_terminal=False)
    assert "…" not in shown
    for check, row in zip(verdict.checks, shown.splitlines()[2:], strict=False):
        assert row.split()[0] == check.id
        assert row.endswith(f"  {check.summary}")


def test_control_characters_of_a_router_do_nothing() -> None:
    start = Start()
    number = start.round("smoke", 0, 1, route="openai", mode="chat", part="route")
    start.client(
        start.nonce(), number, sent=0.1, end=0.2, outcome="refused", status=500,
        error="\x1b[2J\x07gone",
    )  # fmt: skip
    shown = text(judge.judge(run_of(start, selected=("answers/own",))))
    assert "\x1b" not in shown
    assert "␛[2J␇gone" in joined(shown)


def test_colour_is_for_terminals() -> None:
    verdict = judged.verdict("bad/cap--burst")
    coloured = text(verdict, color_system="standard")
    assert "\x1b[" in coloured
    plain = text(verdict, color_system="standard", no_color=True)
    assert "\x1b[31m" not in plain


def test_square_brackets_of_a_router_are_no_markup() -> None:
    start = Start()
    number = start.round("smoke", 0, 1, route="openai", mode="chat", part="route")
    start.client(
        start.nonce(), number, sent=0.1, end=0.2, outcome="refused", status=500,
        error="[red]no such [/nothing]",
    )  # fmt: skip
    shown = text(judge.judge(run_of(start, selected=("answers/own",))))
    assert "[red]no such [/nothing]" in joined(shown)
    assert "NOT JUDGED: the smoke run failed." in joined(shown)


def test_a_mode_that_is_there_now_and_then_is_no_fault_of_the_target_file() -> None:
    (result,) = (c for c in EVERY if c.outcome is Outcome.NOT_JUDGED)
    unsteady = dataclasses.replace(result, summary=UNSTEADY)
    assert "target file" in joined(text(verdict_of(result)))
    for shown in (joined(text(verdict_of(unsteady))), words.headline(verdict_of(unsteady))):
        assert "a mode now and then only" in shown
        assert "target file" not in shown


def test_known_and_nothing() -> None:
    start = Start()
    start.held_round("hold-head", 0, held=4, settled=False)
    run = run_of(start, selected=("cap/each-route",), known={"cap/each-route": "https://issue/1"})
    shown = joined(text(judge.judge(run)))
    assert "violated (known)" in shown
    assert "known: https://issue/1" in shown
    assert "NO RESULT: no check held: 1 violated (known)." in shown
    empty = joined(text(judge.judge(run_of(start, selected=()))))
    assert "NO RESULT: no check held: no check was selected." in empty
