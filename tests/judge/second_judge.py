"""A second judge of the founding promises: the cap at rest and under load, and fetches per expiry.

Naive on purpose, and it shares no code with ``routerspec.checks``, ``history`` or ``sweep``: it
reads the lines of a run's files as plain dicts, by the names that they have there. It says which
checks must be violated of those in ``KNOWN``; nothing else.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec

Line = dict[str, Any]
AT_REST = {
    "hold-head": "cap/each-route",
    "hold-first": "cap/streams",
    "hold-across": "cap/across-routes",
    "hold-long": "cap/over-time",
    "burst": "cap/burst",
    "attempts": "cap/attempts",
    "spread": "cap/replicas",
    "replicas": "cap/replicas",
    "hang-ups": "cap/hang-ups",
    **{
        f"after-{kind}": "cap/after-failures"
        for kind in (
            "error", "reset", "malformed", "cut",
            "hang-up-before-head", "hang-up-mid-stream", "hang-up-non-streaming",
        )
    },
}  # fmt: skip
LISTS = {"list-cold": "models/one-fetch-cold", "list-expiry": "models/one-fetch-on-expiry"}
UNCAPPED = "models/one-fetch-uncapped"
KNOWN = frozenset({*AT_REST.values(), *LISTS.values(), "cap/under-load", UNCAPPED})


class Start:
    """The lines of one start."""

    def __init__(self, info: Line, evidence: list[Line], told: list[Line], run: Line) -> None:
        self.info, self.promises = info, run["promises"]
        self.cap: Line = self.promises.get("cap") or {}
        self.limit: int | None = info["settings"]["cap"]
        calls = [line for line in evidence if line["kind"] == "call" and line["nonces"]]
        self.calls = [call for call in calls if call["run"] == info["token"]]
        self.by_number = {(call["provider"], call["call"]): call for call in self.calls}
        self.calls_of: dict[int, list[Line]] = {}
        for call in self.calls:
            for nonce in call["nonces"]:
                self.calls_of.setdefault(nonce, []).append(call)
        self.fetches = [line for line in evidence if line["kind"] == "list_fetch"]
        self.stalls = [line for line in (*evidence, *told) if line["kind"] == "stall"]
        self.clients = {line["nonce"]: line for line in told if line["kind"] == "observation"}
        self.lists = [line for line in told if line["kind"] == "list_observation"]
        self.looks = [line for line in told if line["kind"] == "look"]
        self.ends = {line["round"]: line["at_ns"] for line in told if line["kind"] == "round_end"}
        self.rounds = [line for line in told if line["kind"] == "round"]

    def most(self, calls: list[Line]) -> int:
        """The most of these calls, as the cap counts them, that are in one group of its scope."""
        groups: dict[Any, set[Any]] = {}
        for call in calls:
            units = call["nonces"] if self._by_request() else [(call["provider"], call["call"])]
            groups.setdefault(self.group(call), set()).update(units)
        return max(map(len, groups.values()), default=0)

    def _by_request(self) -> bool:
        return bool(self.cap.get("counts") == "requests")

    def group(self, call: Line) -> Any:
        scope = self.cap.get("scope")
        provider = call["provider"].partition("-")[0]
        if scope == "provider":
            return provider
        return (provider, call["model"]) if scope == "model" else None

    # -- the cap, at rest -----------------------------------------------------------------------

    def proven(self, number: int, *, apart_ns: int, left_count: bool) -> int:
        """The most calls that two looks of a round prove open at once."""
        looks = sorted((k for k in self.looks if k["round"] == number), key=lambda k: k["asked_ns"])
        most = 0
        for first, second in combinations(looks, 2):
            if second["asked_ns"] - first["told_ns"] >= apart_ns:
                both = [
                    self.by_number[held["provider"], held["call"]]
                    for held in first["held"]
                    if (held["provider"], held["call"]) in self.by_number
                    and (held["provider"], held["call"])
                    in [(again["provider"], again["call"]) for again in second["held"]]
                ]
                kept = [c for c in both if self._open_at_both(c, first, second, left_count)]
                most = max(most, self.most(kept))
        return most

    def _open_at_both(self, call: Line, first: Line, second: Line, left_count: bool) -> bool:
        closed = call.get("peer_closed_ns")
        if call["read_ns"] > first["at_ns"] or call["outer_end_ns"] < second["at_ns"]:
            return False
        if closed is not None and closed < second["told_ns"]:
            return False
        for nonce in call["nonces"]:
            client = self.clients.get(nonce)
            waits = nonce in first["waiting"] and nonce in second["waiting"]
            if left_count:
                left = client and client["hang_up_ns"] and client["hang_up_ns"] < first["asked_ns"]
                if not waits and not left:
                    return False
                continue
            if client is None or not waits or client["end_ns"] <= second["told_ns"]:
                return False
            if client["hang_up_ns"] is not None and client["hang_up_ns"] <= second["told_ns"]:
                return False
        return True

    def streams(self, begun: Line) -> bool:
        """A call of the cell's rounds streamed, or there was none."""
        cell = [r["round"] for r in self.rounds
                if (r["scenario"], r["route"], r["mode"]) == ("hold-first", begun["route"], begun["mode"])]  # fmt: skip # noqa: E501
        calls = [
            call for call in self.calls
            if any(self.clients.get(n, {}).get("round") in cell for n in call["nonces"])
        ]  # fmt: skip
        return not calls or any(call.get("stream") for call in calls)

    # -- the cap, under load --------------------------------------------------------------------

    def peak(self, number: int) -> int:
        """The most calls (or requests) of a round in flight at once, by their inner intervals."""
        spans: dict[Any, list[tuple[int, int]]] = {}
        for call in self.calls:
            clients = [self.clients.get(nonce) for nonce in call["nonces"]]
            if all(client is not None and client["round"] == number for client in clients):
                end = self._inner_end(call, [client for client in clients if client is not None])
                end = min([end, *self._siblings_failed(call)])
                if end > call["read_ns"]:
                    units = call["nonces"] if self._by_request() else [id(call)]
                    for unit in units:
                        key = (self.group(call), unit)
                        spans.setdefault(key, []).append((call["read_ns"], end))
        steps: dict[Any, list[tuple[int, int]]] = {}
        for (group, _), its in spans.items():
            open_until = None
            for start, end in sorted(its):
                if open_until is not None and start <= open_until:
                    if end > open_until:
                        steps[group].remove((open_until, -1))
                        steps[group].append((end, -1))
                        open_until = end
                    continue
                steps.setdefault(group, []).extend([(start, 1), (end, -1)])
                open_until = end
        highest = 0
        for its in steps.values():
            now = 0
            for _, change in sorted(its):
                now += change
                highest = max(highest, now)
        return highest

    def _inner_end(self, call: Line, clients: list[Line]) -> int:
        """Until when the call may accuse; 0 when it may not."""
        end: int = call["inner_end_ns"]
        excused = False
        for client in clients:
            left = client["hang_up_ns"]
            if client["outcome"] == "timed_out":
                return 0
            if left is None and client["outcome"] == "failed" and client["end_ns"] <= end:
                return 0
            if left is not None:
                excused = excused or left <= call["outer_end_ns"]
        closed = call.get("ended_by") == "peer" or call.get("peer_closed_ns") is not None
        if closed and not excused:
            return 0
        hung_up: list[int] = [c["hang_up_ns"] for c in clients if c["hang_up_ns"] is not None]
        return min([end, *hung_up])

    def _siblings_failed(self, call: Line) -> list[int]:
        """When another call of the request failed: while this one was open, or, where the client
        was not answered, before it."""
        return [
            other["inner_end_ns"]
            for nonce in call["nonces"]
            for other in self.calls_of[nonce]
            if (not other.get("finished", True) or (other.get("status") or 0) >= 400)
            and other is not call
            and other["inner_end_ns"] < call["inner_end_ns"]
            and (call["read_ns"] < other["inner_end_ns"] or self._unanswered(call))
        ]

    def _unanswered(self, call: Line) -> bool:
        its = [self.clients[nonce] for nonce in call["nonces"] if nonce in self.clients]
        return any(client["outcome"] != "answered" for client in its)

    # -- fetches per expiry ---------------------------------------------------------------------

    def _given_up(self, fetch: Line, next_ns: int) -> bool:
        """The router may have given it up for the next one; its close may cross the answer."""
        slow = fetch["outer_end_ns"] - fetch["read_ns"] > 150_000_000
        ended = fetch["outer_end_ns"] if slow else fetch["peer_closed_ns"]
        return ended is not None and ended < next_ns + 100_000_000

    def too_many(self, begun: Line) -> bool:
        """A list was fetched twice for one crowd, and nothing excuses it."""
        lists, workers = self.promises["model_list"], self.promises["workers"]
        told = self.info["settings"]["models_ttl_s"]
        ttl = int((lists["ttl_s"] if told is None else told) * 1e9)
        from_ns, until_ns = begun["at_ns"], self.ends.get(begun["round"], 1 << 62)
        sources: dict[Any, list[Line]] = {}
        for fetch in sorted(self.fetches, key=lambda fetch: fetch["read_ns"]):
            if from_ns <= fetch["read_ns"] <= until_ns:
                sources.setdefault((fetch["provider"], fetch["route"]), []).append(fetch)
        for its in sources.values():
            at_once = max(
                sum(f["read_ns"] <= one["read_ns"] < f["inner_end_ns"] for f in its) for one in its
            )
            if workers > 1 and at_once <= workers:
                continue
            for first, second in combinations(its, 2):
                again = self._given_up(first, second["read_ns"])
                if second["read_ns"] < first["inner_end_ns"] and not again:
                    return True
                begins = first["read_ns" if lists["ttl_from"] == "request" else "outer_end_ns"]
                fresh = first["outer_end_ns"] < second["read_ns"] < begins + ttl // 2
                stored = first["answered"] and first["status"] == 200
                had = any(
                    asked["outcome"] == "answered"
                    and asked["status"] == 200
                    and first["outer_end_ns"] < asked["end_ns"] < second["read_ns"]
                    for asked in self.lists
                )
                if (
                    fresh
                    and stored
                    and had
                    and not self._stalled(from_ns - ttl, until_ns + 50_000_000, ttl)
                ):
                    return True
        return False

    def _stalled(self, from_ns: int, until_ns: int, ttl: int) -> bool:
        return any(
            10 * stall["stalled_ns"] >= ttl
            and stall["at_ns"] >= from_ns
            and stall["at_ns"] - stall["stalled_ns"] <= until_ns
            for stall in self.stalls
        )

    def fetches_by_itself(self) -> bool:
        """A list was fetched outside all rounds with clients of it, and nobody had just asked."""
        if not self.lists:
            return False
        first = min(asked["started_ns"] for asked in self.lists)
        busy = {asked["round"] for asked in self.lists}
        for fetch in self.fetches:
            at = fetch["read_ns"]
            alone = not any(
                r["round"] in busy and r["at_ns"] <= at <= self.ends.get(r["round"], 1 << 62)
                for r in self.rounds
            )
            asked_for = any(a["started_ns"] <= at < a["end_ns"] + 10**9 for a in self.lists)
            if at > first and alone and not asked_for:
                return True
        return False

    def several_for_one(self) -> bool:
        """One client, alone at the time, caused two fetches of one list at once."""
        for one in self.lists:
            from_ns, until_ns = one["started_ns"], one["end_ns"]
            if any(
                other is not one and other["started_ns"] <= until_ns and other["end_ns"] >= from_ns
                for other in self.lists
            ):
                continue
            its = [f for f in self.fetches if from_ns <= f["read_ns"] <= until_ns]
            for first, second in combinations(its, 2):
                same = (first["provider"], first["route"]) == (second["provider"], second["route"])
                spans = sorted((f["read_ns"], f["inner_end_ns"]) for f in (first, second))
                earlier = min((first, second), key=lambda f: f["read_ns"])
                again = self._given_up(earlier, spans[1][0])
                if same and spans[1][0] < spans[0][1] and not again:
                    return True
        return False


def violated(starts: list[Start]) -> set[str]:
    """The checks of ``KNOWN`` that these starts prove violated."""
    found: set[str] = set()
    doubted = any(start.fetches_by_itself() or start.several_for_one() for start in starts)
    for start in starts:
        for begun in start.rounds:
            scenario = begun["scenario"]
            if scenario in AT_REST and start.limit is not None:
                left = scenario == "hang-ups"
                apart_ns = 1_000_000_000 if left else 250_000_000
                count = start.proven(begun["round"], apart_ns=apart_ns, left_count=left)
                if count > start.limit and (scenario != "hold-first" or start.streams(begun)):
                    found.add(AT_REST[scenario])
            elif scenario == "load" and start.limit is not None:
                if start.peak(begun["round"]) > start.limit:
                    found.add("cap/under-load")
            elif scenario in LISTS and start.promises.get("model_list") and not doubted:
                uncapped = scenario == "list-cold" and start.cap and start.limit is None
                if start.too_many(begun):
                    found.add(UNCAPPED if uncapped else LISTS[scenario])
    return found


def of_folder(folder: Path) -> list[Start]:
    """The starts of a run on disk."""
    run = msgspec.json.decode((folder / "run.json").read_bytes())
    return [
        Start(
            msgspec.json.decode((its / "start.json").read_bytes()),
            [line for file in _evidence(its) for line in _lines(file)],
            list(_lines(its / "observations.jsonl")),
            run,
        )
        for its in (folder / "starts" / name for name in run["starts"])
    ]


def of_run(run: Any) -> list[Start]:
    """The starts of a run in memory."""
    info = msgspec.to_builtins(run.info)
    return [
        Start(
            msgspec.to_builtins(start.info),
            msgspec.to_builtins(
                [line for its in start.evidence_files.values() for line in its.records]
            ),
            msgspec.to_builtins(list(start.observations.records)),
            info,
        )
        for start in run.starts
    ]


def _evidence(start: Path) -> list[Path]:
    """The files of all instances."""
    names = {path.name.removesuffix(".xz") for path in start.glob("evidence*.jsonl*")}
    return [start / name for name in sorted(names)]


def _lines(path: Path) -> Iterator[Line]:
    packed = path.with_name(f"{path.name}.xz")
    with path.open("rb") if path.exists() else lzma.open(packed) as file:
        for line in file:
            yield msgspec.json.decode(line)
