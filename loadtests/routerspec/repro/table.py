"""Every check with what its repro needs: the subject, the promise, and the round of its script."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from routerspec.repro.rounds import ending, hold, load, model_list, reject, stream

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


def _cap(play: Callable[..., bool], **parameters: object) -> Repro:
    streams = play is hold.held_after_first_piece
    return Repro(
        subject="concurrency limit",
        promise="cap",
        round=Round(
            play=play,
            parameters=parameters,
            mode="stream" if streams else "",
            all_routes=play in (hold.held_on_all_routes, load.loaded),
            for_s=RARE_S,
        ),
    )


def _slots(
    play: Callable[..., bool], how: str = "", mode: str = "", *, for_s: float = 0.0
) -> Repro:
    parameters = {"how": how, "mode": mode} if how else {}
    return Repro(
        subject="concurrency limit",
        promise="cap",
        round=Round(play=play, parameters=parameters, for_s=for_s),
    )


def _models(play: Callable[..., bool], *, for_s: float = 0.0, **parameters: object) -> Repro:
    return Repro(
        subject="model list",
        promise="model_list",
        round=Round(play=play, parameters=parameters, for_s=for_s),
    )


def _answers(
    play: Callable[..., bool], mode: str = "", *, for_s: float = 0.0, all_modes: bool = False
) -> Repro:
    return Repro(
        subject="answers",
        default=True,
        round=Round(play=play, mode=mode, for_s=for_s, all_modes=all_modes),
    )


def _cancel(play: Callable[..., bool], *, all_modes: bool = False) -> Repro:
    return Repro(
        subject="client disconnects",
        promise="cancel",
        round=Round(play=play, all_modes=all_modes),
    )


def _overload(play: Callable[..., bool]) -> Repro:
    return Repro(subject="overload", promise="cap", round=Round(play=play))


REPROS: Final[Mapping[str, Repro]] = {
    "cap/each-route": _cap(hold.held),
    "cap/burst": _cap(hold.held_in_burst),
    "cap/over-time": _cap(hold.held, settle_s=3.0),  # longer than a limiter's window
    "cap/across-routes": _cap(hold.held_on_all_routes),
    "cap/streams": _cap(hold.held_after_first_piece),
    "cap/after-failures": _cap(hold.held_after_failures),
    "cap/attempts": _cap(hold.held_at_second_attempt),
    "cap/replicas": _cap(hold.held),
    "cap/under-load": _cap(load.loaded),
    "cap/hang-ups": _cap(hold.disconnects),
    "slots/reached": _slots(hold.free_slots),
    "slots/handover": _slots(hold.handover),
    "slots/cap-of-one": _slots(hold.served_alone),
    "slots/return-after-error": _slots(ending.slots_after, "error"),
    "slots/return-after-reset": _slots(ending.slots_after, "reset"),
    "slots/return-after-timeout": _slots(ending.slots_after, "timeout"),
    "slots/return-after-malformed": _slots(ending.slots_after, "malformed"),
    "slots/return-after-cut": _slots(ending.slots_after, "cut", "stream"),
    "slots/return-after-hang-up-queued": _slots(ending.slots_after_queue, for_s=RARE_S),
    "slots/return-after-hang-up-before-head": _slots(ending.slots_after_early, for_s=RARE_S),
    "slots/return-after-hang-up-mid-stream": _slots(
        ending.slots_after, "hang-up-mid-stream", "stream"
    ),
    "slots/return-after-hang-up-non-streaming": _slots(
        ending.slots_after, "hang-up-non-streaming", "chat"
    ),
    "slots/order": Repro(subject="concurrency limit", promise="cap"),
    "models/one-fetch-cold": _models(model_list.fetched_at_once),
    "models/one-fetch-uncapped": _models(model_list.fetched_at_once),
    "models/one-fetch-on-expiry": _models(model_list.fetched_at_once, expired=True),
    "models/cached": _models(model_list.fetched_while_fresh),
    "models/by-id": _models(model_list.fetched_by_id),
    "models/ttl-from-receipt": _models(model_list.fetched_before_expiry),
    "models/refreshed": _models(model_list.old_models),
    "models/no-going-back": _models(model_list.older_list, for_s=RARE_S),
    "models/dead-provider": _models(model_list.all_or_nothing),
    "models/failure-not-cached": _models(model_list.failure_cached),
    "models/failing-throttled": _models(model_list.failure_unthrottled),
    "models/leader-hang-up": _models(model_list.left_without_list),
    "models/not-behind-cap": _models(hold.list_behind_cap),
    "answers/own": _answers(stream.pieces_of_others, "stream", for_s=RARE_S),
    "answers/whole": _answers(stream.pieces_lost, for_s=RARE_S),
    "answers/incremental": _answers(stream.late_pieces, "stream"),
    "answers/error-is-error": _answers(ending.error_as_success, all_modes=True),
    "answers/error-is-json": _answers(ending.error_as_text, all_modes=True),
    "answers/cut-is-no-success": _answers(stream.cut_called_finished, "stream"),
    "answers/no-replay": _answers(stream.cut_begun_anew, "stream"),
    "answers/attempts": Repro(
        subject="retries", promise="retries", round=Round(play=ending.attempts)
    ),
    "cancel/reaches-provider": _cancel(ending.disconnected, all_modes=True),
    "cancel/queued-stays-home": _cancel(hold.left_queue),
    "cancel/spares-others": _cancel(hold.others_spared),
    "keys/stay-home": Repro(
        subject="keys", promise="keys", default=True, round=Round(play=ending.keys_astray)
    ),
    "overload/answer": _overload(reject.refusals),
    "overload/queued": _overload(reject.queue_refuses),
    "overload/retry-after": _overload(reject.no_retry_after),
    "overload/json-error": _overload(reject.refused_in_text),
    "isolation/hung-provider": Repro(subject="isolation of providers", promise="cap"),
    "overhead/latency": Repro(subject="overhead"),
    "overhead/first-token": Repro(subject="overhead"),
    "overhead/gaps": Repro(subject="overhead"),
    "overhead/hidden-cap": Repro(subject="overhead"),
    "overhead/throughput": Repro(subject="overhead"),
}
"""Check -> its repro."""
