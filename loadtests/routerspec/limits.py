"""The numbers that a scenario and its check share, and how long is too long.

How many clients a scenario needs, how long it holds, and from when on a check accuses: each number
stands here once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from routerspec.promises import Balance, Cap, Failover, Fault, Limits, Promises

LARGEST_CAP: Final = 500
"""A larger cap would need more clients at once than one machine plays faithfully."""

OFFERED: Final = 5
"""Times the cap: offered to a route that is held."""

LARGEST_BURST: Final = 10
"""Times the cap: released in one instant."""

USERS: Final = 6
"""Times the cap: users of the mixed load."""

FILLS: Final = 20
"""How often all slots must have been occupied while another client waited, under mixed load."""

LOAD_S: Final = 10.0
"""How long the mixed load lasts at most; with ``--soak``, as long as that says."""

LOAD_LEAST_S: Final = 3.0
"""The mixed load lasts so long at least: longer than the window of a limiter that counts by the
second or by two."""

LOAD_CALLS: Final = 1000
"""Requests of the mixed load at least: a race that oversteps in 3 calls of 1,000 shows in 95 runs
of 100 (1 - 0.997**1000). A rarer one is looked for with ``--soak``."""

LIST_CLIENTS: Final = 50
"""Clients that ask for the model list at once."""

SLOW_FETCH: Final = 0.8
"""Of the TTL: how long a fetch is held to see from when its list is fresh."""

LONGEST_RECOVERY_S: Final = 5.0
"""A breaker or cooldown that is promised to last longer is not waited for."""

HIDDEN_CAP_STREAMS: Final = 64
"""Streams that are held at once, to see how many a router without a cap lets through."""

CONNECTIONS: Final = (1, 8, 32)
"""Clients at once, to see how many requests go through in a second."""

LONGEST_HOLD_S: Final = 8.0
"""Routers give up a fetch that takes longer: then nothing is proven."""

AT_REST_S: Final = 2.0
"""How long a provider pauses after many pieces, at most, for one of them to reach the client."""

PIECES_BEFORE: Final = 8
"""Pieces that a provider has sent when it pauses."""

BYTES_BEFORE: Final = 8192
"""Bytes that they have at least: more than a small buffer holds back."""

COARSE_CLOCK_S: Final = 1.3
"""What is granted to caches that count in whole seconds."""

NO_SUCH_MODE: Final = frozenset({404, 405, 501})
"""Statuses by which a router says that it has no such route or mode."""

NO_END_S: Final = 3.0
"""A stream whose last event was read so long ago has no end."""

GAP_S: Final = 0.4
"""Between two pieces of a slow stream: a small part of any timeout."""

SLOW_PIECES: Final = 10
"""Pieces of a slow stream: it lasts for a third longer than the shortest timeout that is set."""

KEEP_S: Final = 0.1
"""How long providers keep idle connections while requests are sent at longer intervals."""

CLOSED_FOR_S: Final = 0.2
"""How long such a connection is closed before the next request: any router can know it by then."""

EXPECT_S: Final = 1.0
"""How long a client with ``Expect: 100-continue`` waits for an interim response, as curl does."""

GONE_S: Final = 1.0
"""A client that disconnected so long ago is gone, however slowly that is noticed."""

RETRY_AFTER_S: Final = 1
"""The Retry-After of a provider; whole seconds, as in the header."""

TRIES: Final = 3
"""A deadline accuses only when it was missed so often, and never met."""

FAULT_LEASES: Final = 3
"""How many leases a replica is paused for, or cut off from the store: none outlasts that."""

WITHOUT_LEASE_S: Final = 3.0
"""The same, in seconds, where no lease is promised."""

LONGEST_LEASE_S: Final = 10.0
"""A longer lease is not waited for; nor are slots of a killed replica for twice as long."""

AWAKE_S: Final = 1.0
"""A replica that was paused for longer than its lease has given up its calls so long after."""

IN_TURN: Final = "in turn"
"""The part of ``replicas`` in which one slot after the other comes free."""

WITHOUT_STORE: Final = "without the store"
"""The part of ``store-gone`` that is sent while there is none."""

KEPT_OUT_S: Final = 1.0
"""A request that was let in at no provider for so long was not admitted."""

BENCH_IN_TURN_S: Final = 1.0
"""How long requests of one mode alternate, a round."""

LEFT_BEFORE_S: Final = 1.0
"""A queued client disconnects at least so long before any slot is released."""

LEFT_WHOLE: Final = ("queued", "before-head", "after-head")
"""Where clients leave a request whose answer comes whole, as rounds of ``hang-ups`` name it."""

LEFT_STREAM: Final = (
    *LEFT_WHOLE, "after-piece-1", "after-piece-n", "while-streaming", "unread",
)  # fmt: skip
"""The same of a stream. ``while-streaming``: after its first piece, with others on their way;
``unread``: with everything that the provider has sent still unread."""

LEFT_ONE_PIECE: Final = (*LEFT_WHOLE, "after-piece-1")
"""The same of a stream whose provider makes its answer in one piece."""

LEFT_AFTER_PIECES: Final = 8
"""How many pieces a client of ``after-piece-n`` has when it leaves."""

PLAIN_BODY: Final = "one message"
"""The part of ``request-bodies`` whose bodies have nothing but a message."""

ORDINARY_BODIES: Final = (PLAIN_BODY, "known fields", "unknown fields", "few fields", "an image")
"""The parts whose bodies any client may send; the fourth where the second was refused."""

LARGE_BODIES: Final = {"a body of 1.5 MB": 1_500_000, "a body of 4 MB": 4_000_000}
"""Parts of ``request-bodies`` -> the length of their bodies: above the limits that are common by
default (1 MB, 1 MiB, 2 MB), and below the 8 MiB that the fakes take."""

BODY_REFUSED: Final = 2
"""How often in a row a large body must have failed to reach a provider."""

TRACE_ID: Final = "7265736f6c7665727370656374726163"
"""The trace of a client's ``traceparent``."""

CANARIES: Final = {
    "cookie": "rs-cookie-5f1c",
    "x-forwarded-for": "203.0.113.77",
    "forwarded": "203.0.113.78",
    "x-real-ip": "203.0.113.79",
}
"""Fields of a client that are no business of a provider -> what their values contain."""

HOP_BY_HOP: Final = {
    "x-routerspec-hop": "rs-hop-5f1c",
    "keep-alive": "timeout=7777",
    "te": "q=0.777",
    "proxy-connection": "rs-proxy-5f1c",
    "upgrade": "rs-upgrade-5f1c",
}
"""Fields that end at each hop (the first by the client's ``Connection``) -> the same."""

CACHE_FAILING: Final = {"an error": "an error", "a cut stream": "an answer that was cut short"}
"""Parts of ``cache-probes`` in which the first answer must not be kept -> what it was."""

CACHE_KEY: Final = "key"
"""The part of ``cache-probes`` in which the second request is another client's."""

CACHE_OTHER: Final = {
    "max_tokens": "another max_tokens",
    "temperature": "another temperature",
    "seed": "another seed",
    "system": "another system message",
    CACHE_KEY: "another Authorization",
}
"""Those in which the second request is another one -> in what it differs."""

CACHE_FORM: Final = ("then a stream", "then a whole answer")
"""Those in which it wants its answer in another form."""

CACHE_REPEAT: Final = "the same"
"""The part in which it is the same request."""

CLIENT_ERRORS: Final = 25
"""Errors of clients that a provider must have answered before the next good request."""

BUSY_S: Final = 2
"""The Retry-After of a provider that is busy; whole seconds."""

PASSED_ON_S: Final = 0.5
"""What a router has not passed on to its client for so long, it holds back."""

LONGEST_QUEUE_S: Final = 5.0
"""A longer timeout of the queue is not waited for."""

LARGEST_QUEUE: Final = 256
"""A queue with a larger bound is not filled."""

_KEPT_WAITING_S: Final = 2.0

SLOTS_FREE: Final = "slots free"
"""The part of ``overload`` in which as many requests come, one after the other."""

COUNTS: Final = 3
"""Prompts whose tokens are counted at once."""

COUNTS_WAIT_S: Final = 1.3
"""How long those that are counted while all slots are occupied have, before a slot is free."""

COUNTED_FREE: Final = "slots free"
"""The part of the requests that count tokens before any slot is occupied."""

COUNTED_BESIDE: Final = "slots occupied"
"""The part of those that do while all slots are."""

COUNTED_AFTER: Final = "slots free again"
"""The part of those that do once they are released."""

REFUSED: Final = "refused"
"""The failure of an instance that leaves no trace there: its port is closed."""

FAULTS: Final[Mapping[Fault, tuple[str, ...]]] = {
    "refused": ("",),
    "reset": ("cut=0",),
    "cut-before-first-byte": ("fin=0",),
    "5xx": ("status=500", "status=503"),
    "429": ("status=429",),
    "timeout": ("stall=0",),
}
"""Failures of an instance, in the order in which they are played -> the directives that make them,
one after the other."""

FAULT_TIMEOUT_S: Final = 2.0
"""How long a router may wait for a provider that says nothing, where instances fail."""

BEFORE_FAULT: Final = "before"
AFTER_FAULT: Final = "after"
"""How the parts of rounds begin before an instance fails, and when it is well again; between them
they begin with the failure itself. Behind a colon follow the names of the instances."""

CLIENTS_ERRORS: Final = (400, 404, 413, 401)
"""Statuses that are the client's fault; the last one only where its key is passed on."""

REQUESTS_TO_RETURN: Final = 10
"""Requests for each instance that one must have had no share in, to be left alone: by chance it
happens in 5 of a million runs with three instances."""

RETURNS_LATE_S: Final = 2.0
"""After its cooldown, until an instance must have been asked again."""
DRAINS: Final = 3
"""Starts of a router that drains: as often as a deadline must be missed."""

DRAIN_HALF: Final = 0.45
"""Of the time in which a router drains: when held calls are released, if it is not long."""

DRAIN_HELD_S: Final = 3.0
"""They are held so long at most."""

DRAIN_HELD: Final = 0.7
"""The same where no stream goes on longer."""

DRAIN_EARLY_S: Final = 10.0
"""A stream that ends later than so long after the signal may have met a timeout of its own."""

DRAIN_LATE: Final = 0.5
"""Of the time in which a router drains: from then on it begins no new work, and may end streams."""

LONGEST_DRAIN_S: Final = 60.0
"""A longer drain is not waited for."""

GROWN_BY: Final = 2
"""By so much a reload raises the cap."""

KEEPALIVES: Final = 3
"""So many times a provider is silent for as long as a client must have read something."""

LONG_STREAM: Final = 0.9
"""Of the longest stream that is promised: how long one lasts that must arrive whole."""

LONGEST_SILENCE_S: Final = 30.0
"""A promise about a longer silence is not waited for."""

BEYOND_QUEUE: Final = 3
"""Clients beyond those that the queue of a saturated router is promised to hold."""

SESSIONS: Final = 16
"""Sessions that must stay on their instances: seldom are all of them on one by chance."""

SESSION_REQUESTS: Final = 4
"""Requests of one session."""

CHOICE_ROUNDS: Final = 3
"""Rounds in which an instance is chosen while some are busy, before clients leave and after."""

BUSY_CHOICES: Final = 6
"""Calls that must have been given while one instance was busy and another idle."""

INSTANCE_CLIENTS: Final = 40
"""Clients at most that are offered to all instances of a provider at once."""

EJECTED_S: Final = 0.8
"""Of the cooldown: for so long an instance that failed is left alone for certain."""

BREAKER_CAUSES: Final = 8
"""Errors of clients, or disconnects, at one instance: as many as open the breakers of routers."""

BREAKER_REQUESTS: Final = 24
"""Good requests for each instance before and after them: where it was given its share of those
before and none of those after, that is chance less than once in a million times."""

TRIAL_REQUESTS: Final = 12
"""Requests while an instance is tried again after its cooldown."""

TRIAL_CALLS: Final = 3
"""Of those that are held: enough for a herd."""

LIMITED_BY: Final = {
    "limits": "requests_per_minute",
    "limits-tokens": "tokens_per_minute",
    "limits-budget": "budget",
}
"""Scenario (and its start) -> the limit that is on."""

LIMIT_EDGE: Final = "at the edge"
"""The kind of part of ``limits`` in which one request short of the limit were admitted, and many
more come at once."""

LIMIT_ACROSS: Final = "across windows"
"""That in which requests come all the time, for longer than a window."""

LIMIT_PAUSE: Final = "after a pause"
"""That in which nothing but retries comes for a window, then as many requests as are promised."""

LIMIT_FAILING: Final = "every other one fails"
"""That in which every other request fails at its provider."""

LIMIT_BURST: Final = 4
"""Times the limit: requests that come at once where all but one of it are admitted."""

LEAST_LIMIT_BURST: Final = 24
MOST_LIMIT_BURST: Final = 300

LARGEST_LIMIT: Final = 100
"""A larger limit of requests is not tried."""

LEAST_TOKENS: Final = 200
MOST_TOKENS: Final = 20_000
"""Limits of tokens below and above are not tried."""

TOKENS_EACH: Final = 0.6
"""Of the limit of tokens: what each answer has, so that one is admitted and not a second."""

TOKEN_BURST: Final = 16
"""Requests that come at once where the limit is of tokens."""

LONGEST_WINDOW_S: Final = 120.0
"""A longer window is not waited for."""

ACROSS_WINDOWS: Final = 1.8
"""Windows for which requests come all the time: one of half the length, which begins with a
request, begins four times meanwhile, even if each begins a step late."""

ACROSS_STEPS: Final = 16
"""Times within a window that they come."""

LOOK_BACK: Final = 2
"""Windows after which no request before counts, however the router counts: some weigh the window
before."""


def limit_part(kind: str, key: str) -> str:
    """The part of a round about limits; ``key``: whose limit it is, empty for everybody's."""
    return f"{kind}, {key}" if key else kind


def limit_burst(limit: int) -> int:
    """How many requests come at once at the edge of this limit."""
    return min(max(LIMIT_BURST * limit, LEAST_LIMIT_BURST), MOST_LIMIT_BURST)


def tried_limits(limits: Limits | None) -> tuple[str, ...]:
    """The names of the limits that are promised and can be tried."""
    if limits is None:
        return ()
    requests = limits.requests_per_minute
    tokens = {"tokens_per_minute": limits.tokens_per_minute, "budget": limits.budget}
    return (
        *(("requests_per_minute",) if requests and requests <= LARGEST_LIMIT else ()),
        *(name for name, its in tokens.items() if its and LEAST_TOKENS <= its <= MOST_TOKENS),
    )


def failing_status(promises: Promises) -> int:
    """With what a provider fails, if that is not to open a circuit breaker which may be there."""
    ejects = promises.balance is not None and promises.balance.ejected_within is not None
    breaks = promises.recovery_s > 0 or promises.failover is not None or ejects
    return 400 if breaks else 500


def fault_s(cap: Cap) -> float:
    """How long a replica is paused, or cut off."""
    return WITHOUT_LEASE_S if cap.lease_s is None else FAULT_LEASES * cap.lease_s


def window_slack_s(window_s: float) -> float:
    """What is granted to windows that are counted in whole seconds; less to short ones."""
    return min(COARSE_CLOCK_S, max(0.1, window_s / 8))


def answered_within_s(promise: Failover, fault: str, timeout_s: float) -> float:
    """Until when an answer must begin; after a silent provider at least twice the timeout, where
    the router was started with that of ``FAULT_TIMEOUT_S``.
    """
    shortened = fault == "timeout" and timeout_s == FAULT_TIMEOUT_S
    return max(promise.within_s, 2 * timeout_s) if shortened else promise.within_s


def spread_calls(balance: Balance) -> int:
    """Calls for each instance that show how they are spread.

    A share of 0.6 in place of one of three equal ones is no chance at 120, and counted at 40.
    """
    return 40 if balance.policy == "round-robin" else 120


def kept_waiting_s(queue_timeout_s: float | None) -> float:
    """A client that must be refused, and was not for so long, was kept waiting.

    The queue's own timeout ends every wait: half of it must be enough.
    """
    return _KEPT_WAITING_S if queue_timeout_s is None else min(_KEPT_WAITING_S, queue_timeout_s / 2)


def silence_slack_s(promised_s: float) -> float:
    """What is granted to the timers of a router that keeps a promise about silence."""
    return max(0.5, 0.25 * promised_s)


def drain_slack_s(within_s: float) -> float:
    """What the exit of a process may take after the time in which it drains."""
    return max(0.5, 0.1 * within_s)


def queue_patience_s(timeout_s: float) -> float:
    """How long a client in a queue with this timeout may wait before it is late."""
    return timeout_s + max(0.5, 0.5 * timeout_s)


def tried(cap: Cap) -> Cap:
    """The promise as far as it is tried: without a bound or a timeout that is too large."""
    limit, timeout_s = cap.queue_limit, cap.queue_timeout_s
    return replace(
        cap,
        queue_limit=limit if limit is not None and limit <= LARGEST_QUEUE else None,
        queue_timeout_s=timeout_s if timeout_s and timeout_s <= LONGEST_QUEUE_S else None,
    )
