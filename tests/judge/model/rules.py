"""The rules that a router can break, the plays that show it, and the checks that may say so."""

from __future__ import annotations

import dataclasses
import fnmatch
from dataclasses import dataclass, field
from typing import Any

from tests.judge.model.records import CHECKS
from tests.judge.model.story import Story


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule."""

    trips: dict[str, tuple[str, ...]]
    """Play -> the checks of which one must not hold there, where the rule was really broken."""
    also: tuple[str, ...] = ()
    """Patterns of checks that may be violated too: they promise the same, or what follows."""
    wants: dict[str, Any] = field(default_factory=dict)
    """What the story must have for the rule to show: fields of its own, or of its promises."""

    def fit(self, story: Story) -> Story:
        """The story with what the rule wants."""
        promises = story.promises
        for name, value in self.wants.items():
            if hasattr(story, name):
                story = dataclasses.replace(story, **{name: value})
                continue
            if hasattr(promises, name):
                promises = dataclasses.replace(promises, **{name: value})
                continue
            for part in ("cap", "model_list", "retries"):
                its = getattr(promises, part)
                if its is not None and hasattr(its, name):
                    its = dataclasses.replace(its, **{name: value})
                    promises = dataclasses.replace(promises, **{part: its})
        return dataclasses.replace(story, promises=promises)

    def may(self) -> frozenset[str]:
        """Every check that may be violated."""
        patterns = [*self.also, *(id_ for ids in self.trips.values() for id_ in ids)]
        return frozenset(
            id_ for id_ in CHECKS if any(fnmatch.fnmatchcase(id_, pat) for pat in patterns)
        )


CAP = {
    "holds": ("cap/each-route", "cap/streams", "cap/across-routes"),
    "burst": ("cap/burst",),
    "hold-long": ("cap/over-time",),
    "hang-ups": ("cap/hang-ups",),
    "load": ("cap/under-load",),
    "after-error": ("cap/after-failures",),
}
LEAKS = ("slots/*",)

RULES: dict[str, Rule] = {
    "cap-off-by-one": Rule(trips=CAP, also=("cap/*",)),
    "freed-at-head": Rule(
        trips={"holds": ("cap/streams",), "load": ("cap/under-load",)}, also=("cap/*",)
    ),
    "route-unlimited": Rule(trips=CAP, also=("cap/*",)),
    "limiter-per-route": Rule(
        trips={"holds": ("cap/across-routes",), "load": ("cap/under-load",)}, also=("cap/*",)
    ),
    "limiter-per-worker": Rule(
        trips={"spread": ("cap/replicas",), "burst": ("cap/burst",)},
        also=("cap/*",),
        wants={"workers": 2},
    ),
    "check-then-act": Rule(trips={"burst": ("cap/burst",)}, also=("cap/*",)),
    "window": Rule(trips={"hold-long": ("cap/over-time",)}, also=("cap/*",)),
    "retry-free": Rule(
        trips={"attempts": ("cap/attempts",)},
        also=("cap/*",),
        wants={"span": "call", "holds_retries": False, "counts": "calls", "max": 1},
    ),
    "double-release": Rule(
        trips={f"after-{k}": ("cap/after-failures",) for k in ("error", "reset", "malformed")},
        also=("cap/*",),
    ),
    "freed-on-hang-up": Rule(
        trips={"hang-ups": ("cap/hang-ups",), "hang-up": ("cancel/reaches-provider",)},
        also=("cap/*", "cancel/reaches-provider"),
    ),
    **{
        f"freed-{phase}": Rule(
            trips={"hang-ups": ("cap/hang-ups",)},
            also=("cap/*", "cancel/reaches-provider"),
            wants={"hears": "watch"} | wants,
        )
        for phase, wants in {
            "before-head": {},
            "after-head": {},
            "after-piece-1": {},
            "after-piece-n": {},
            "queued": {"overload": "queue", "queue_limit": None, "queue_timeout_s": None},
        }.items()
    },
    **{
        f"leak-{kind}": Rule(
            trips={f"after-{kind}": (f"slots/return-after-{kind}",)},
            also=("slots/*",),
            wants={"hears_within": 0.02},
        )
        for kind in ("error", "reset", "malformed", "cut", "hang-up-queued", "timeout")
    },
    "leak-hang-up": Rule(
        trips={
            f"after-{kind}": (f"slots/return-after-{kind}",)
            for kind in ("hang-up-before-head", "hang-up-mid-stream", "hang-up-non-streaming")
        },
        also=("slots/*",),
    ),
    "slot-missing": Rule(trips={"holds": ("slots/reached",)}, also=("slots/*",)),
    "not-passed-on": Rule(
        trips={"handover": ("slots/handover",)},
        also=("slots/*",),
        wants={"queue_limit": None, "queue_timeout_s": None, "routes": ("openai",)},
    ),
    "self-deadlock": Rule(trips={"one": ("slots/cap-of-one",)}, also=("slots/*",)),
    "not-shared": Rule(
        trips={
            "lists": ("models/one-fetch-cold", "models/one-fetch-on-expiry"),
            "uncapped": ("models/one-fetch-uncapped",),
        },
        # The slower of two fetches overwrites the list of the other, with an older stamp.
        also=("models/one-fetch-*", "models/no-going-back", "models/cached"),
    ),
    "never-refreshed": Rule(
        trips={"lists": ("models/refreshed",)}, wants={"ahead": False, "timer": False}
    ),
    "uncached": Rule(
        trips={"lists": ("models/cached",), "lists-left": ("models/by-id",)},
        also=("models/one-fetch-*", "models/ttl-from-receipt"),
        wants={"by_id": True, "partial": False},
    ),
    "stamped-before": Rule(
        trips={"house": ("models/ttl-from-receipt",)},
        also=("models/one-fetch-*",),
        wants={
            "ahead": False,
            "timer": False,
            "whole_seconds": False,
            "ttl_from": "receipt",
            "workers": 1,
        },
    ),
    "older-after-newer": Rule(
        trips={"lists": ("models/no-going-back",)}, also=("models/refreshed",)
    ),
    "failure-kept": Rule(
        trips={"lists-failing": ("models/failure-not-cached",)},
        wants={
            "workers": 1,
            "timer": False,
            "ahead": False,
            "stale": False,
            "whole_seconds": False,
            "recovery_s": 0.0,
        },
    ),
    "asked-anew": Rule(
        trips={"lists-failing": ("models/failing-throttled",)},
        wants={"stale": False, "timer": False, "ahead": False},
    ),
    "leader-takes-all": Rule(trips={"lists-left": ("models/leader-hang-up",)}),
    "lists-behind-cap": Rule(
        trips={"house": ("models/not-behind-cap",)}, wants={"under_cap": False}
    ),
    "dead-takes-all": Rule(
        trips={"lists-dead": ("models/dead-provider",)}, wants={"partial": True}
    ),
    "foreign-token": Rule(trips={"holds": ("answers/own",)}, also=("answers/whole",)),
    **{
        name: Rule(
            trips={"holds": ("answers/whole",), "load": ("answers/whole",)},
            wants={"breaker": False},
        )
        for name in ("missing-token", "doubled-token", "swapped-tokens")
    },
    "total-timeout": Rule(trips={"slow-stream": ("answers/slow-stream",)}),
    "buffered": Rule(trips={"hold-piece": ("answers/incremental",)}),
    "cut-called-done": Rule(trips={"cut-stream": ("answers/cut-is-no-success",)}),
    "error-as-200": Rule(trips={"upstream-error": ("answers/error-is-error",)}),
    "error-as-html": Rule(trips={"upstream-error": ("answers/error-is-json",)}),
    "replay": Rule(trips={"cut-stream": ("answers/no-replay",)}, also=("answers/whole",)),
    "one-retry-more": Rule(
        trips={"upstream-error": ("answers/attempts",), "cut-stream": ("answers/attempts",)},
        wants={"max": 1},
    ),
    "retry-too-early": Rule(
        trips={"retry-after": ("answers/attempts",)}, wants={"max": 1, "honours_retry_after": True}
    ),
    "retry-for-nobody": Rule(
        trips={"leave-before-error": ("answers/attempts",)},
        wants={"max": 1, "routes": ("openai",), "breaker": False, "overload": "queue"},
    ),
    "hang-up-ignored": Rule(
        trips={
            "hang-up": ("cancel/reaches-provider",),
            "hang-up-queued": ("cancel/queued-stays-home",),
        },
        also=("answers/attempts",),
    ),
    "kills-neighbours": Rule(trips={"hang-up": ("cancel/spares-others",)}),
    "client-key-passed": Rule(trips={"keys": ("keys/stay-home",)}, wants={"keys": "own"}),
    "key-swapped": Rule(trips={"keys": ("keys/stay-home",)}, wants={"keys": "own"}),
    "key-in-answer": Rule(trips={"keys": ("keys/stay-home",)}, wants={"keys": "own"}),
    "wrong-status": Rule(trips={"overload": ("overload/answer",)}, wants={"overload": "reject"}),
    "queue-unbounded": Rule(
        trips={"overload": ("overload/answer",)},
        wants={"overload": "queue", "queue_limit": 1, "queue_timeout_s": None},
    ),
    "queue-refuses": Rule(
        trips={"overload": ("overload/queued",)},
        wants={"overload": "queue", "queue_limit": None, "queue_timeout_s": None},
    ),
    "queue-late": Rule(
        trips={"overload": ("overload/answer",)},
        wants={"overload": "queue", "queue_limit": None, "queue_timeout_s": 1.0},
    ),
    "queue-early": Rule(
        trips={"overload": ("overload/answer",)},
        wants={"overload": "queue", "queue_limit": 4, "queue_timeout_s": 2.5},
    ),
    "no-retry-after": Rule(
        trips={"overload": ("overload/retry-after",)}, wants={"overload": "reject"}
    ),
    "plain-refusal": Rule(
        trips={"overload": ("overload/json-error",)}, wants={"overload": "reject"}
    ),
}
