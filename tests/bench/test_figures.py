"""The figures of a bench, from records and samples made by hand."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from fake_providers.records.evidence import Call
from routerspec.bench import figures, report
from routerspec.bench.figures import Bench, Row, Sample
from routerspec.records.observations import Observation, Record, Round, RoundEnd

MS = 1_000_000


class Made:
    """Rounds of a bench while they are made up; times in ms."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.calls: dict[int, Call] = {}
        self.nonce = self.number = 0

    def in_turn(self, way: str, number: int, took: list[float], *, its: float = 5.0) -> None:
        """A round of chats one by one, of which the provider had ``its`` ms each."""
        with_end = self._begin(way, f"in turn {number}")
        for each in took:
            self._ask(way, 0.0, its + each, its=its)
        self.records.append(with_end)

    def at_once(self, way: str, connections: int, number: int, per_s: int) -> None:
        """A second in which this many were answered, evenly."""
        end = self._begin(way, f"{connections} at once {number}")
        step = 1000 / per_s
        for index in range(per_s + 1):
            self._ask(way, index * step, (index + 1) * step)
        self.records.append(end)

    def refused(self, way: str, number: int) -> None:
        end = self._begin(way, f"in turn {number}")
        self._ask(way, 0.0, 1.0, outcome="refused")
        self.records.append(end)

    def limited(self, way: str, number: int, per_s: int, refused: int) -> None:
        """The same second, with further requests that the router refused by itself."""
        self.at_once(way, 32, number, per_s)
        end = self.records.pop()
        for index in range(refused):
            self._ask(way, index, index + 1.0, outcome="refused", status=429)
            del self.calls[self.nonce]
        self.records.append(end)

    def _begin(self, way: str, part: str) -> RoundEnd:
        self.number += 1
        self.records.append(
            Round(
                round=self.number, scenario="bench", at_ns=0, route=way, mode="chat", gate="",
                offered=0, part=part,
            )
        )  # fmt: skip
        return RoundEnd(round=self.number, at_ns=1000 * MS, incident="")

    def _ask(self, way: str, began: float, ended: float, **fields: Any) -> None:
        self.nonce += 1
        its = fields.pop("its", 0.0)
        answered: dict[str, Any] = {"outcome": "answered", "status": 200}
        self.records.append(
            Observation(
                nonce=self.nonce, round=self.number, route=way, mode="chat",
                started_ns=round(began * MS), sent_ns=None, head_ns=None, first_ns=None,
                end_ns=round(ended * MS), hang_up_ns=None, pieces=1, text="",
                finish="stop", done=True, error="",
                **answered | fields,
            )
        )  # fmt: skip
        self.calls[self.nonce] = Call(
            provider="openai", call=self.nonce, route="", family="chat", model="", stream=False,
            run="", nonces=(self.nonce,), body_hash="", attempt=1, gate="", accepted_ns=0,
            read_ns=0, held_ns=None, let_go_ns=None, head_ns=None, first_ns=None,
            inner_end_ns=round(its * MS), outer_end_ns=round(its * MS), ended_by="fake",
            peer_closed_ns=None, status=200, pieces=1, finished=True, sent_bytes=1, late_ns=0,
        )  # fmt: skip

    def row(self, name: str, samples: list[Sample] | None = None) -> Row:
        return figures.row(
            name, "1", slices=figures.slices_of(self.records), calls=self.calls,
            samples=samples or [], processors=2,
        )  # fmt: skip


def test_added_latency_is_the_client_s_time_less_the_provider_s_and_the_direct_route_s() -> None:
    made = Made()
    for number, added in enumerate((1.0, 2.0, 4.0)):
        made.in_turn("router", number, [3.0 + added] * 20, its=50.0)
        made.in_turn("direct", number, [3.0] * 20, its=7.0)
    figure = made.row("router").answer_ms[50]
    assert figure.value == pytest.approx(2.0)
    assert figure.low == pytest.approx(1.5)
    assert figure.high == pytest.approx(3.0)
    assert figure.samples == 60
    assert made.row("direct").answer_ms[50].value == pytest.approx(3.0)


def test_a_quantile_that_one_round_is_too_small_for_is_taken_over_all_without_quartiles() -> None:
    made = Made()
    for number in range(5):
        made.in_turn("router", number, [2.0] * 20)
        made.in_turn("direct", number, [1.0] * 20)
    row = made.row("router")
    assert row.answer_ms[95].low is not None
    assert (row.answer_ms[99].low, row.answer_ms[99].samples) == (None, 100)
    few = Made()
    few.in_turn("router", 0, [2.0] * 9)
    few.in_turn("direct", 0, [1.0] * 9)
    assert few.row("router").answer_ms == {}


def test_answers_a_second_are_those_while_all_clients_were_busy() -> None:
    made = Made()
    for number, rate in enumerate((100, 200, 300)):
        made.at_once("direct", 32, number, rate)
    figure = made.row("direct").per_s[32]
    assert figure.value == pytest.approx(200, rel=0.02)
    assert figure.limits == ()
    assert set(made.row("direct").per_s) == {32}


@pytest.mark.parametrize(("who", "used"), [("load", 0.95), ("fakes", 0.95), ("machine", 1.95)])
def test_a_figure_names_other_saturated_processes(who: str, used: float) -> None:
    made = Made()
    made.at_once("direct", 1, 0, 100)
    samples = [
        Sample(at_ns=0, cpu_s={"load": 0, "fakes": 0, "machine": 0}, rss_bytes={}),
        Sample(
            at_ns=1000 * MS,
            cpu_s={"load": 0.5, "fakes": 0.5, "machine": 1.5} | {who: used},
            rss_bytes={},
        ),
    ]
    assert made.row("direct", samples).per_s[1].limits == (who,)


def test_memory_and_processor_time_are_the_router_s_own() -> None:
    made = Made()
    made.in_turn("router", 0, [2.0] * 100)
    made.in_turn("direct", 0, [1.0] * 100)
    samples = [
        Sample(at_ns=0, cpu_s={"router": 2.0}, rss_bytes={"router": 30_000_000}),
        Sample(at_ns=1, cpu_s={"router": 2.5}, rss_bytes={"router": 50_000_000}),
        Sample(at_ns=2, cpu_s={"router": 3.0}, rss_bytes={"router": 40_000_000}),
    ]
    row = made.row("router", samples)
    assert (row.idle_mb, row.peak_mb) == (30, 50)
    assert row.cpu_ms == pytest.approx(10.0)
    assert made.row("direct", samples).cpu_ms is None


def test_unanswered_requests_are_counted_and_not_measured() -> None:
    made = Made()
    made.in_turn("direct", 0, [1.0] * 20)
    made.refused("router", 0)
    row = made.row("router")
    assert (row.unanswered, row.answer_ms) == (1, {})


def a_bench(*, late_ms: float = 0.1) -> Bench:
    made = Made()
    for number in range(3):
        made.in_turn("router", number, [3.0] * 20)
        made.in_turn("direct", number, [1.0] * 20)
        made.at_once("router", 32, number, 50)
    made.refused("router", 9)
    rows = (made.row("direct"), made.row("router"))
    return Bench(
        rows=rows, seed=7, rounds=3, processors=2, late_ms=late_ms, notes=("nginx is missing",)
    )


def test_a_bench_reads_well_at_80_columns() -> None:
    output = StringIO()
    report.render(a_bench(), Console(file=output, width=80, force_terminal=True, color_system=None))
    text = output.getvalue()
    assert "\u2026" not in text
    assert max(map(len, text.splitlines())) <= 80
    for word in ("router", "direct", "+2.00", "2.00..2.00", "answer p50", "32 at once"):
        assert word in text
    assert "1 request unanswered" in text
    assert "nginx is missing" in text
    assert "ms late" not in text


def test_a_bench_as_markdown_and_as_json() -> None:
    lines = report.markdown(a_bench(late_ms=12.0)).splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert lines[3].startswith("| router | +2.00 (2.00..2.00) |")
    assert any("12.0 ms late" in line for line in lines)
    document = json.loads(report.encode(a_bench()))
    assert document["rows"][1]["answer_ms"]["50"]["value"] == pytest.approx(2.0)
    assert document["rows"][1]["per_s"]["32"]["samples"] > 10


def test_a_page_says_its_command_the_machine_and_the_whole_table() -> None:
    found = a_bench()
    page = report.page(found, "routerspec bench reference --rounds 4 --seed 1")
    assert "routerspec bench reference --rounds 4 --seed 1 --page reports/bench.md" in page
    assert f"{found.processors} processors" in page
    assert report.markdown(found) in page


def test_a_rate_that_the_router_limits_by_refusals_is_marked_and_counted() -> None:
    made = Made()
    for number in range(3):
        made.limited("router", number, 21, refused=79)
        made.at_once("direct", 32, number, 100)
    row = made.row("router")
    assert row.per_s[32].limits == ("refusals",)
    assert (row.refused, row.requests) == ({429: 237}, 3 * (22 + 79))
    found = Bench(rows=(row,), seed=1, rounds=3, processors=2, late_ms=0.0)
    text = report.markdown(found)
    assert "router: 237 of 303 requests were refused by the router itself with 429" in text
    assert "true throughput may be higher" in text
