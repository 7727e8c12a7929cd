"""The page: every proof is drawn, nothing is fetched, nothing accuses that the judge does not."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from unittest.mock import ANY

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerspec.history import history as histories
from routerspec.history.history import History
from routerspec.history.sweep import sweep
from routerspec.judge import judge
from routerspec.promises import Cap
from routerspec.records.run import read_run
from routerspec.report import html, svg
from routerspec.report.html import cited, in_flight
from routerspec.verdict import CheckResult, Kind, Outcome, Verdict, Witness
from tests.benchmarks import judge as bench_judge
from tests.corpus.builder import CAP, LIMIT, Start, run_of
from tests.corpus.make import BAD, GOOD
from tests.report.stories import EVERY, HOSTILE, Page, corpus, verdict_of, with_text
from tests.support.browser import browse

EMPTY = histories.build(run_of(Start(), selected=()))


def page(verdict: Verdict, history: History = EMPTY) -> Page:
    return Page(html.render(verdict, history, "RUN"))


@pytest.mark.parametrize("check", sorted(BAD))
def test_every_violation_is_reported_and_drawn(check: str) -> None:
    _, verdict, history = corpus(f"bad/{check.replace('/', '--')}")
    text = html.render(verdict, history, "RUN")
    shown = Page(text)
    result = next(c for c in verdict.checks if c.id == check)
    assert result.witness is not None
    assert [a["id"] for a in shown.all("article")] == [check.replace("/", "--")]
    expected = (result.witness.sentence, *result.witness.facts, f"routerspec repro RUN {check}")
    assert all(line in shown.text for line in expected)
    timelines = [s for s in shown.all("svg") if (s.get("aria-label") or "").startswith("Timeline")]
    # A key that leaks is reported without a round: it has no time.
    assert bool(timelines) == (check != "keys/stay-home")
    assert len(text) < 250_000


NO_CALL_BEYOND = {"cap/count-tokens", "cap/replica-killed", "cap/store-gone"}
"""Violated by what was not let in, or by what was at all."""
ONE_TOO_MANY = [c for c in sorted(BAD) if c.startswith("cap/") and c not in NO_CALL_BEYOND]


@pytest.mark.parametrize("check", ONE_TOO_MANY)
def test_the_request_that_is_one_too_many_is_marked(check: str) -> None:
    _, verdict, history = corpus(f"bad/{check.replace('/', '--')}")
    shown = page(verdict, history)
    assert shown.all("g", "over"), "the bar beyond the cap"
    assert shown.all("line", "cap"), "the cap as a line"
    assert shown.all("rect", "moment"), "the time at which all were open"
    assert shown.all("text", "proof"), "and where in the run it was"


@pytest.mark.parametrize("name", sorted(GOOD))
def test_no_plot_accuses_a_sound_router(name: str) -> None:
    _, verdict, history = corpus(f"good/{name}")
    shown = page(verdict, history)
    assert not shown.all("path", "over")
    assert not shown.all("article")
    assert not shown.all("text", "proof")


@pytest.mark.parametrize("name", ["good/lists-fetched-once", "bad/models--one-fetch-on-expiry"])
def test_lists_show_demand_fetches_and_freshness(name: str) -> None:
    _, verdict, history = corpus(name)
    shown = page(verdict, history)
    assert shown.all("path", "demand")
    assert shown.all("rect", "fetch")
    assert shown.all("rect", "fresh")
    assert bool(shown.all("rect", "double")) == name.startswith("bad")


def test_what_a_router_adds_is_a_curve_beside_the_direct_one() -> None:
    _, verdict, history = corpus("good/what-a-router-adds")
    shown = page(verdict, history)
    assert len(shown.all("path", "router")) == len(shown.all("path", "direct")) >= 2


def test_a_cap_that_is_not_judged_draws_no_line() -> None:
    start = Start()
    start.held_round("hold-head", 0, held=4)
    history = histories.build(run_of(start, selected=()))
    for cap, limit in ((None, None), (Cap(limit=2, scope="process"), None), (CAP, LIMIT)):
        counted = in_flight.count(history.starts[0], cap, accused=False)
        assert counted.limit == limit
        assert max(steps.peak for steps in counted.outer) == 4


def test_more_than_the_cap_is_red_only_where_the_judge_says_so() -> None:
    start = Start()
    start.held_round("hold-head", 0, held=4)
    recorded = run_of(start, selected=("cap/each-route",))
    verdict, history = judge.judge(recorded), histories.build(recorded)
    assert page(verdict, history).all("path", "over")
    doubt = CheckResult(id="cap/burst", kind=Kind.MUST, outcome=Outcome.INCONCLUSIVE, reason="-")
    assert not page(dataclasses.replace(verdict, checks=(doubt,)), history).all("path", "over")


def test_hostile_text_is_text_and_nothing_leaves_the_page() -> None:
    known = CheckResult(
        id="cap/x", kind=Kind.MUST, outcome=Outcome.VIOLATED, known="javascript:alert(3)"
    )
    checks = [with_text(check, HOSTILE) for check in EVERY]
    shown = page(verdict_of(*checks, known, target=HOSTILE))
    assert "<script>alert(1)</script><img src=x onerror=alert(2)>" in shown.text
    names = {name for name, _ in shown.elements}
    assert not names & {"script", "img", "iframe", "object", "embed", "link", "base", "form"}
    for _, attributes in shown.elements:
        assert not any(key.startswith("on") or key == "src" for key in attributes)
        target = attributes.get("href") or "#"
        assert target.startswith("#") or target == "https://issues.example/17"
    (policy,) = (a for a in shown.all("meta") if a.get("http-equiv"))
    assert "default-src 'none'" in (policy["content"] or "")
    assert "url(" not in (Path(html.__file__).parent / "style.css").read_text()


def test_every_outcome_has_a_sign_a_word_and_its_reason() -> None:
    shown = page(verdict_of(*EVERY))
    for word in ("violated (known)", "discouraged", "inconclusive", "not judged", "harness error"):
        assert word in shown.text
    for check in EVERY:
        assert check.id in shown.text
        assert check.reason in shown.text
    targets = {a["href"] for a in shown.all("a") if (a.get("href") or "").startswith("#")}
    ids = {f"#{attributes['id']}" for _, attributes in shown.elements if attributes.get("id")}
    assert targets <= ids, "every link within the page leads somewhere"
    assert len(ids) == sum(bool(attributes.get("id")) for _, attributes in shown.elements)


def test_a_start_that_cannot_be_believed_is_named_and_not_drawn() -> None:
    start = Start()
    start.held_round("hold-head", 0, held=4)
    recorded = run_of(start, selected=("cap/each-route",))
    whole = recorded.starts[0]
    cut = msgspec.structs.replace(whole.evidence, footer=None)
    recorded = msgspec.structs.replace(
        recorded, starts=(msgspec.structs.replace(whole, evidence=cut),)
    )
    shown = page(judge.judge(recorded), histories.build(recorded))
    assert "Unusable starts" in shown.text
    assert not shown.all("path", "high")


def test_the_page_does_not_grow_with_the_run(tmp_path: Path) -> None:
    sizes = []
    for requests in (2_000, 20_000):
        bench_judge.write_history(tmp_path / str(requests), requests)
        recorded = read_run(tmp_path / str(requests))
        history = histories.build(recorded)
        shown = html.render(judge.judge(recorded), history, "RUN")
        assert Page(shown).all("path", "high")
        sizes.append(len(shown))
    assert sizes[1] < 1.05 * sizes[0]


def test_a_plot_is_as_small_as_its_columns() -> None:
    random = np.random.default_rng(7)
    begins = random.integers(0, 10**12, 200_000)
    steps = sweep(np.column_stack((begins, begins + random.integers(1, 10**9, 200_000))))
    _, high = svg.columns(steps, np.linspace(0, 10**12, svg.COLUMNS + 1).astype(np.int64))
    assert high.max() == steps.peak
    assert len(svg.area(high, steps.peak)) < 20 * svg.COLUMNS


intervals = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 60)).map(lambda pair: (pair[0], sum(pair))),
    max_size=40,
)


@given(intervals, st.integers(1, 30))
def test_columns_keep_the_lowest_and_the_highest(pairs: list[tuple[int, int]], many: int) -> None:
    edges = np.linspace(0, 480, many + 1).astype(np.int64)
    low, high = svg.columns(sweep(pairs), edges)
    for column in range(many):
        moments = range(int(edges[column]), int(edges[column + 1]))
        counts = [sum(start <= at < end for start, end in pairs) for at in moments]
        assert (low[column], high[column]) == (min(counts), max(counts))


def test_a_witness_that_names_nothing_known_is_not_drawn() -> None:
    odd = Witness(
        sentence="Odd.", facts=("start nowhere, round 3: x", "fake openai call 99 (", "nonce 5: ")
    )
    assert cited.read(odd, EMPTY) == []
    _, verdict, history = corpus("bad/cap--streams")
    witness = next(c.witness for c in verdict.checks if c.witness)
    assert witness is not None
    (its,) = cited.read(witness, history)
    named = [fact for fact in witness.facts if fact.startswith("fake ")]
    assert len(its.calls) == len(named) >= 2
    assert its.clients == [ANY] * len(named)


_MEASURE = """<script>
const over = document.querySelector("g.over rect.held, g.over rect.call").getBoundingClientRect();
const wide = [...document.querySelectorAll("*")].filter(e => !e.closest("svg") &&
    e.getBoundingClientRect().right > innerWidth + 1).length;
const row = document.querySelector(".rows summary"); row.focus();
document.title = JSON.stringify({over: over.width > 5 && over.height > 5, wide, width: innerWidth,
    focus: document.activeElement === row, article: document.querySelector("article").id});
</script>"""


@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_shows_the_violation_and_nothing_sticks_out(width: int, tmp_path: Path) -> None:
    _, verdict, history = corpus("bad/cap--streams")
    text = html.render(verdict, history, "RUN")
    file = tmp_path / "page.html"
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', text)
    assert policy is not None
    file.write_text(text.replace(policy[0], "").replace("</body>", f"{_MEASURE}</body>"))
    seen = Page(browse(file, f"--window-size={width},1000"))
    wanted = f'{{"over":true,"wide":0,"width":{width},"focus":true,"article":"cap--streams"}}'
    assert wanted in seen.text


def test_a_browser_runs_nothing_of_what_stands_in_the_page(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    text = html.render(verdict_of(*(with_text(c, HOSTILE) for c in EVERY)), EMPTY, "RUN")
    inside = "<script>document.title = 'ran'</script></body>"
    file.write_text(text.replace("</body>", inside))
    seen = browse(file)
    assert "<title>made-up 1.0: violated</title>" in seen
    assert "what of" not in seen or "ran" not in Page(seen).elements[0]
