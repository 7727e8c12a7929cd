"""Every check with what its repro needs: the subject, the promise, and the round of its script."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from routerspec.repro import probes
from routerspec.repro.probes import Probe
from routerspec.repro.rounds import (
    balanced,
    connections,
    ending,
    failing,
    failover,
    forwarded,
    hold,
    limited,
    load,
    model_list,
    reject,
    relayed,
    replicas,
    silence,
    stops,
    stream,
)

RARE_S: Final = 60.0
"""Violations that take luck are tried for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a script plays, and on what."""

    play: Callable[..., bool]
    """A function of a module in ``rounds``; gets the lab and the parameters."""
    parameters: Mapping[str, object] = field(default_factory=dict)
    mode: str = ""
    """The only mode of requests that it is played with; empty: any."""
    all_routes: bool = False
    """On every route in any case, not just where the verdict's numbers are highest."""
    all_modes: bool = False
    """With embeddings and completions, too, where no route is known to be the worst."""
    for_s: float = 0.0
    """Played again and again for so long; 0: once is enough."""
    probes: tuple[Probe, ...] = ()
    """What the round sends and has answered."""
    named: tuple[Probe, ...] = ()
    """What it plays in their place where the witness names them; empty: those of ``probes``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repro:
    """What the report and the script of one check's violation need beyond the check itself."""

    subject: str
    """For the report's title."""
    promise: str = ""
    """The promise of the target that it is about, by its name in ``Promises``; empty: none."""
    default: bool = False
    """Expected of every router, whatever its documentation says."""
    round: Round | None = None
    """None: it only observes."""


def _cap(play: Callable[..., bool], mode: str = "", **parameters: object) -> Repro:
    everywhere = play is load.loaded or "together" in parameters
    return Repro(
        subject="concurrency limit",
        promise="cap",
        round=Round(
            play=play, mode=mode, all_routes=everywhere, for_s=RARE_S, parameters=parameters
        ),
    )


def _slots(play: Callable[..., bool], *, for_s: float = 0.0, **parameters: object) -> Repro:
    played = Round(play=play, for_s=for_s, parameters=parameters)
    return Repro(subject="concurrency limit", promise="cap", round=played)


def _models(play: Callable[..., bool], *, for_s: float = 0.0, **parameters: object) -> Repro:
    played = Round(play=play, for_s=for_s, parameters=parameters)
    return Repro(subject="model list", promise="model_list", round=played)


def _answers(
    play: Callable[..., bool],
    mode: str = "",
    *,
    for_s: float = 0.0,
    all_modes: bool = False,
    **parameters: object,
) -> Repro:
    played = Round(play=play, mode=mode, all_modes=all_modes, for_s=for_s, parameters=parameters)
    return Repro(subject="answers", default=True, round=played)


def _cancel(play: Callable[..., bool], *, all_modes: bool = False) -> Repro:
    played = Round(play=play, all_modes=all_modes)
    return Repro(subject="client disconnects", promise="cancel", round=played)


def _overload(wrong: str = "") -> Repro:
    played = Round(play=reject.refusals, parameters={"wrong": wrong} if wrong else {})
    return Repro(subject="overload", promise="cap", round=played)


def _limits(play: Callable[..., bool]) -> Repro:
    return Repro(subject="limits", promise="limits", round=Round(play=play))


def _wire(
    play: Callable[..., bool], *played: Probe, mode: str = "", promise: str = "", subject: str = ""
) -> Repro:
    """Both sides of an answer or a request, on every route."""
    answers = probes.ANSWERS if play.__module__ == relayed.__name__ else ()
    round_ = Round(play=play, mode=mode, probes=played, named=(*played, *answers))
    return Repro(subject=subject or "answers", promise=promise, default=not promise, round=round_)


_LIMITS_AND_LISTS: Final[Mapping[str, Repro]] = {
    "cap/each-route": _cap(hold.held),
    "cap/burst": _cap(hold.held, times=10, at_once=True, settle_s=0.3),
    "cap/over-time": _cap(hold.held, settle_s=3.0),  # longer than a limiter's window
    "cap/across-routes": _cap(hold.held, together=True),
    "cap/streams": _cap(hold.held, "stream", first=1),
    "cap/after-failures": _cap(hold.held_after_failures),
    "cap/attempts": _cap(hold.held_at_second_attempt),
    "cap/replicas": _cap(hold.held),
    "cap/replica-killed": _slots(replicas.slots_of_killed),
    "cap/replica-paused": _slots(replicas.over_in_pause),
    "cap/replica-cut-off": _slots(replicas.over_when_cut_off),
    "cap/store-restarted": _slots(replicas.over_after_restart),
    "cap/store-gone": _slots(replicas.wrong_without_store),
    "models/one-fetch-cluster": _models(replicas.fetched_by_each),
    "cap/under-load": _cap(load.loaded),
    "cap/hang-ups": _cap(hold.disconnects),
    "cap/count-tokens": _cap(hold.counts_behind_cap),
    "slots/reached": _slots(hold.free_slots),
    "slots/handover": _slots(hold.handover),
    "slots/cap-of-one": _slots(hold.served_alone),
    "slots/return-after-error": _slots(ending.slots_after, how="error"),
    "slots/return-after-reset": _slots(ending.slots_after, how="reset"),
    "slots/return-after-timeout": _slots(ending.slots_after, how="timeout"),
    "slots/return-after-malformed": _slots(ending.slots_after, how="malformed"),
    "slots/return-after-cut": _slots(ending.slots_after, how="cut", mode="stream"),
    "slots/return-after-hang-up-queued": _slots(ending.slots_after_queue, for_s=RARE_S),
    "slots/return-after-hang-up-before-head": _slots(ending.slots_after_early, for_s=RARE_S),
    "slots/return-after-hang-up-mid-stream": _slots(
        ending.slots_after, how="hang-up-mid-stream", mode="stream"
    ),
    "slots/return-after-hang-up-non-streaming": _slots(
        ending.slots_after, how="hang-up-non-streaming", mode="chat"
    ),
    "slots/order": Repro(subject="concurrency limit", promise="cap"),
    "slots/replicas-order": Repro(subject="concurrency limit", promise="cap"),
    "models/one-fetch-cold": _models(model_list.fetched_at_once),
    "models/one-fetch-uncapped": _models(model_list.fetched_at_once),
    "models/one-fetch-on-expiry": _models(model_list.fetched_at_once, expired=True),
    "models/cached": _models(model_list.fetched_while_fresh),
    "models/by-id": _models(model_list.fetched_by_id),
    "models/ttl-from-receipt": _models(model_list.fetched_before_expiry),
    "models/refreshed": _models(model_list.moved),
    "models/no-going-back": _models(model_list.moved, for_s=RARE_S, back=True),
    "models/dead-provider": _models(model_list.all_or_nothing),
    "models/failure-not-cached": _models(model_list.failure_cached),
    "models/failing-throttled": _models(model_list.failure_unthrottled),
    "models/leader-hang-up": _models(model_list.left_without_list),
    "models/not-behind-cap": _models(hold.list_behind_cap),
    "answers/own": _answers(stream.mixed, "stream", for_s=RARE_S),
    "answers/whole": _answers(stream.mixed, for_s=RARE_S, lost=True),
    "answers/incremental": _answers(stream.late_pieces, "stream"),
    "answers/error-is-error": _answers(ending.errors, all_modes=True),
    "answers/error-is-json": _answers(ending.errors, all_modes=True, body=True),
    "answers/cut-is-no-success": _answers(stream.cut_short, "stream"),
    "answers/no-replay": _answers(stream.cut_short, "stream", replay=True),
    "answers/attempts": Repro(
        subject="retries", promise="retries", round=Round(play=ending.attempts)
    ),
    "cancel/reaches-provider": _cancel(ending.disconnected, all_modes=True),
    "cancel/queued-stays-home": _cancel(hold.left_queue),
    "cancel/spares-others": _cancel(hold.others_spared),
    "keys/stay-home": Repro(
        subject="keys", promise="keys", default=True, round=Round(play=ending.keys_astray)
    ),
    "overload/answer": _overload(),
    "overload/queued": _overload("at all"),
    "overload/retry-after": _overload("Retry-After"),
    "overload/json-error": _overload("JSON"),
    "limits/never-more": _limits(limited.more_at_edge),
    "limits/window": _limits(limited.more_across_windows),
    "limits/retry-after": _limits(limited.refused_again),
    "limits/refused-is-free": _limits(limited.refused_for_ever),
    "limits/failed-count": _limits(limited.failed_limited_wrongly),
    "isolation/hung-provider": Repro(subject="isolation of providers", promise="cap"),
    "overhead/latency": Repro(subject="overhead"),
    "overhead/first-token": Repro(subject="overhead"),
    "overhead/gaps": Repro(subject="overhead"),
    "overhead/hidden-cap": Repro(subject="overhead"),
    "overhead/throughput": Repro(subject="overhead"),
}
BOTH_SIDES: Final[Mapping[str, Repro]] = {
    "wire/ending": _wire(relayed.one_ending, probes.PLAIN, *probes.FAILURES, mode="stream"),
    "wire/conventions": _wire(relayed.conventions, probes.PLAIN, *probes.FRAMES, mode="stream"),
    "wire/framing": _wire(relayed.whole_events, *probes.FRAMES, *probes.TEXT),
    "wire/text": _wire(relayed.same_text, *probes.TEXT, *probes.FRAMES),
    "wire/finish-reason": _wire(relayed.same_finish, *probes.FINISHES),
    "wire/choices": _wire(relayed.same_choices, probes.CHOICES),
    "wire/ids": _wire(relayed.one_id, probes.PLAIN, mode="stream"),
    "wire/extras": _wire(relayed.same_extras, *probes.EXTRAS),
    "wire/failure-visible": _wire(relayed.failure_seen, *probes.FAILURES[:-1], mode="stream"),
    "wire/first-delta": _wire(relayed.early_arguments, probes.HELD, mode="stream"),
    "wire/http": _wire(connections.sound_http, probes.TEXT[2], subject="HTTP"),
    "wire/keep-alive": _wire(connections.own_next_answer, mode="chat", subject="HTTP"),
    "tools/arrive": _wire(relayed.same_calls, *probes.CALLS, subject="tool calls"),
    "tools/interleaved": Repro(subject="tool calls"),
    "tools/round-trip": _wire(
        forwarded.results_refer, probes.PLAIN, *probes.CALLS, subject="tool calls"
    ),
    "usage/told": _wire(relayed.same_usage, *probes.USAGE, subject="usage"),
    "request/body": _wire(forwarded.same_body, probes.PLAIN, *probes.BODIES, subject="requests"),
    "request/retry": _wire(forwarded.same_attempts, probes.PLAIN, subject="retries"),
    "request/headers": _wire(forwarded.own_headers, probes.PLAIN, subject="requests"),
    "request/stream-flag": _wire(forwarded.same_stream_flag, probes.PLAIN, subject="requests"),
    "cache/answers": _wire(failing.sound_cache, subject="cached answers"),
    "errors/client-errors": _wire(failing.open_after_errors, subject="circuit breaker"),
    "errors/retry-after": _wire(failing.own_retry_after, subject="errors"),
    "answers/slow-stream": _wire(failing.timeout_of_silence, probes.LONG, mode="stream"),
}
"""Those whose rounds compare the bytes of both sides."""


def _failover(play: Callable[..., bool], mode: str = "") -> Repro:
    played = Round(play=play, mode=mode, all_routes=True)
    return Repro(subject="failover", promise="failover", round=played)


_INSTANCES: Final[Mapping[str, Repro]] = {
    "failover/served": _failover(failover.served_elsewhere),
    "failover/asked": _failover(failover.asked_once),
    "failover/one-answer": _failover(failover.one_answer, "stream"),
    "failover/attempts": _failover(failover.attempts_in_all),
    "failover/permit": _failover(failover.one_permit),
    "failover/model": _failover(failover.own_model),
    "failover/client-errors": _failover(failover.own_errors),
    "failover/returns": _failover(failover.asked_again),
    "failover/client-left": _failover(failover.asked_for_nobody),
}
"""Those whose rounds let instances of a provider fail."""


def _balance(play: Callable[..., bool], promise: str = "balance") -> Repro:
    subject = "load balancing" if promise == "balance" else "circuit breaker"
    return Repro(subject=subject, promise=promise, round=Round(play=play))


_BALANCE: Final[Mapping[str, Repro]] = {
    "balance/spread": _balance(balanced.spread_wrongly),
    "balance/dead": _balance(balanced.dead_asked),
    "balance/affinity": _balance(balanced.session_moved),
    "balance/cap": _balance(balanced.instance_overfull),
    "breaker/client-errors": _balance(balanced.open_for_clients, "recovery_s"),
    "breaker/half-open": _balance(balanced.herd_let_in, "recovery_s"),
}
"""Those whose rounds tell which instance is asked."""


def _stops(play: Callable[..., bool], promise: str, mode: str = "") -> Repro:
    played = Round(play=play, mode=mode, all_routes=True)
    return Repro(subject=_SUBJECTS[promise], promise=promise, round=played)


_SUBJECTS: Final = {
    "drain": "shutdown",
    "reload": "reload of the configuration",
    "silence": "silent providers",
}
_STOPS: Final[Mapping[str, Repro]] = {
    "drain/whole": _stops(stops.cut_by_drain, "drain"),
    "drain/refuses": _stops(stops.begun_in_drain, "drain"),
    "drain/exit": _stops(stops.late_exit, "drain"),
    "drain/permits": _stops(stops.left_by_drain, "drain"),
    "reload/serves": _stops(stops.not_served, "reload"),
    "reload/whole": _stops(stops.cut_by_reload, "reload"),
    "reload/one-cap": _stops(stops.two_caps, "reload"),
    "silence/keep-alive": _stops(silence.nothing_to_read, "silence", "stream"),
    "silence/long-stream": _stops(silence.cut_while_long, "silence", "stream"),
    "silence/gives-up": _stops(silence.never_given_up, "silence"),
}
"""Those whose rounds signal the router, or wait for silent providers."""
REPROS: Final[Mapping[str, Repro]] = {
    **_LIMITS_AND_LISTS,
    **BOTH_SIDES,
    **_INSTANCES,
    **_BALANCE,
    **_STOPS,
}
"""Check -> its repro."""
