"""The figures of a bench, from records and samples made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from typing import Any, Final

import pytest
from rich.console import Console

from fake_providers.records.evidence import Call
from routerspec.bench import figures, report
from routerspec.bench.figures import Bench, Row
from routerspec.bench.intervals import LOADS, Clients, Interval
from routerspec.bench.processor_time import Usage
from routerspec.records.observations import Observation, Record, Round, RoundEnd

MS = 1_000_000
KEPT: Final = Clients(number=32, kept=True)
NEW: Final = Clients(number=32, kept=False)
NONE: Final[frozenset[int]] = frozenset()


class Made:
    """Rounds of a bench while they are made up; times in ms."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.calls: dict[int, Call] = {}
        self.intervals: list[Interval] = []
        self.nonce = self.number = 0

    def in_turn(self, way: str, number: int, took: list[float], *, its: float = 5.0) -> None:
        """A round of chats one by one, of which the provider had ``its`` ms each."""
        with_end = self._begin(way, f"in turn {number}")
        for each in took:
            self._ask(way, 0.0, its + each, its=its)
        self.records.append(with_end)

    def loaded(
        self, way: str, clients: Clients, per_s: int, *, refused: int = 0, **used: float
    ) -> None:
        """Half a second at this rate. ``used``: processor seconds of that half second."""
        busiest = {who: cpu_s / 0.5 for who, cpu_s in used.items() if who != "machine"}
        first = self.nonce + 1
        self.nonce += refused
        self.intervals.append(
            Interval(
                name=way, clients=clients, seconds=0.5, answered=per_s // 2,
                sent=per_s // 2 + refused, opened=clients.number,
                refused=tuple((nonce, 429) for nonce in range(first, first + refused)),
                failed={}, usage=Usage(seconds=0.5, cpu_s=used, busiest=busiest),
                rss_bytes=50_000_000,
            )
        )  # fmt: skip

    def refused(self, way: str, number: int) -> None:
        end = self._begin(way, f"in turn {number}")
        self._ask(way, 0.0, 1.0, outcome="refused")
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

    def row(self, name: str, *, idle_bytes: int | None = None, seen: frozenset[int] = NONE) -> Row:
        return figures.row(
            name, "1", slices=figures.slices_of(self.records), calls=self.calls,
            intervals=self.intervals, seen=seen, idle_bytes=idle_bytes, processors=2,
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


def test_answers_a_second_are_of_each_number_of_clients_and_kind_of_connection() -> None:
    made = Made()
    made.in_turn("direct", 0, [1.0])
    for rate in (100, 200, 300):
        made.loaded("direct", KEPT, rate)
        made.loaded("direct", NEW, rate // 2)
    row = made.row("direct")
    figure = row.kept_per_s[32]
    assert (figure.low, figure.value, figure.high) == (150, 200, 250)
    assert (figure.samples, figure.limits) == (300, ())
    assert row.per_s[32].value == 100
    assert (set(row.kept_per_s), set(row.per_s)) == ({32}, {32})


def test_a_rate_names_what_was_at_its_limit_and_the_processors_in_use() -> None:
    made = Made()
    made.in_turn("direct", 0, [1.0])
    for _ in range(3):
        made.loaded("direct", KEPT, 100, load=0.1, fakes=0.48, machine=0.6)
    figure = made.row("direct").kept_per_s[32]
    assert figure.limits == ("fakes",)
    assert figure.busy == pytest.approx({"load": 0.2, "fakes": 0.96, "machine": 1.2})


def test_processor_time_a_request_is_the_router_s_in_an_interval_by_the_answers_in_it() -> None:
    made = Made()
    made.in_turn("router", 0, [2.0])
    made.in_turn("direct", 0, [1.0])
    for cpu_s in (0.1, 0.2, 0.4):
        made.loaded("router", KEPT, 200, router=cpu_s, load=0.1, fakes=0.1, machine=0.9)
    made.loaded("router", NEW, 200, router=0.5, load=0.1, fakes=0.1, machine=0.9)
    row = made.row("router", idle_bytes=30_000_000)
    assert row.cpu_ms == pytest.approx(2.0)
    assert row.cpu_quartiles_ms == pytest.approx((1.5, 3.0))
    assert (row.idle_mb, row.peak_mb) == (30, 50)
    assert made.row("direct").cpu_ms is None


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
        for clients in LOADS:
            made.loaded("router", clients, 12_000, router=0.4, load=0.1, fakes=0.3, machine=0.98)
            made.loaded("direct", clients, 14_000, load=0.1, fakes=0.49, machine=0.98)
    made.refused("router", 9)
    return Bench(
        rows=(made.row("direct"), made.row("router", idle_bytes=30_000_000)),
        seed=7,
        rounds=3,
        processors=2,
        placement="Everything shares them.",
        late_ms=late_ms,
        notes=("nginx is missing",),
    )


def test_a_bench_reads_well_at_80_columns() -> None:
    output = StringIO()
    report.render(a_bench(), Console(file=output, width=80, force_terminal=True, color_system=None))
    text = output.getvalue()
    assert "\u2026" not in text
    assert max(map(len, text.splitlines())) <= 80
    for word in ("router", "direct", "+2.00", "2.00..2.00", "answer p50", "32 at once"):
        assert word in text
    assert text.index("CPU ms") < text.index("at once") < text.index("answer p50")
    remarks = " ".join(text.split())
    assert "the fake providers (f), the whole machine (m)" in remarks
    assert "Everything shares them." in remarks
    assert "1 request unanswered" in text
    assert "nginx is missing" in text
    assert "ms late" not in text


def test_a_bench_as_markdown_and_as_json() -> None:
    lines = report.markdown(a_bench(late_ms=12.0)).splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert lines[3].startswith("| router | 0.067 (0.067..0.067) | 12000 m (12000..12000) |")
    assert "| +2.00 (2.00..2.00) |" in lines[3]
    assert any("12.0 ms late" in line for line in lines)
    document = json.loads(report.encode(a_bench()))
    assert document["rows"][1]["answer_ms"]["50"]["value"] == pytest.approx(2.0)
    rate = document["rows"][1]["kept_per_s"]["32"]
    assert (rate["samples"], rate["limits"]) == (18_000, ["machine"])
    assert rate["busy"]["router"] == pytest.approx(0.8)


def test_a_page_says_its_command_the_machine_and_the_whole_table() -> None:
    found = a_bench()
    page = report.page(found, "routerspec bench reference --rounds 4 --seed 1")
    assert "routerspec bench reference --rounds 4 --seed 1 --page reports/bench.md" in page
    assert f"{found.processors} processors" in page
    assert report.markdown(found) in page


def test_a_rate_that_the_router_limits_by_refusals_is_marked_and_counted() -> None:
    made = Made()
    made.in_turn("router", 0, [2.0])
    made.in_turn("direct", 0, [1.0])
    for _ in range(3):
        made.loaded("router", KEPT, 42, refused=79)
    row = made.row("router", seen=frozenset({3}))
    assert row.kept_per_s[32].limits == ("refusals",)
    assert (row.refused, row.requests) == ({429: 236}, 1 + 3 * (21 + 79))
    found = Bench(rows=(row,), seed=1, rounds=3, processors=2, late_ms=0.0)
    text = report.markdown(found)
    assert "router: 236 of 301 requests were refused by the router itself with 429" in text
    assert "may carry more elsewhere" in text


def test_other_processes_and_connections_that_the_router_closes_are_reported() -> None:
    made = Made()
    made.in_turn("router", 0, [2.0])
    made.in_turn("direct", 0, [1.0])
    for _ in range(3):
        made.loaded("router", KEPT, 200, router=0.1, load=0.1, fakes=0.1, machine=0.8)
    made.intervals = [replace(each, opened=32 + 90) for each in made.intervals]
    row = made.row("router", idle_bytes=1)
    text = report.markdown(Bench(rows=(row,), seed=1, rounds=3, processors=2, late_ms=0.0))
    assert "Other processes used up to 1.0 of the 2 processors" in text
    assert "router: the router closed the connection after 90% of the requests" in text
