"""The promises of a router, as its target file states them. Only what is promised is judged.

Decides names, units, bounds and defaults (the table in the target documentation). Refuses to know
whether any of it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Gt, Le, MinLen

P = TypeVar("P")
Scope = Literal["global", "provider", "model", "key", "process", "cluster"]
Seconds = Annotated[float, Gt(0)]
PromiseName = Literal[
    "cap",
    "model_list",
    "cancel",
    "retries",
    "failover",
    "balance",
    "limits",
    "drain",
    "reload",
    "silence",
    "keys",
    "workers",
    "recovery_s",
    "rewrites",
    "max_body_bytes",
    "response_cache",
    "trace",
    "timeout",
]
Status = Annotated[int, Ge(400), Le(599)]
Fault = Literal["refused", "reset", "5xx", "429", "timeout", "cut-before-first-byte"]
Signal = Literal["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH"]


@dataclass(frozen=True, slots=True)
class Matches:
    """Mark of a text that must match a pattern, read by pydantic where a target file is read.

    In place of pydantic's own mark: the load process needs these records and not pydantic, whose
    import takes a tenth of a second.
    """

    pattern: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """The schema of a text with this pattern."""
        return handler(source) | {"pattern": self.pattern}


FieldName = Annotated[str, Matches(r"^[A-Za-z0-9_]+$")]
ListPath = Annotated[str, Matches(r"^(/.*[^/])?$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """At most ``limit`` upstream calls (or client requests) are in flight within the scope."""

    limit: Annotated[int, Ge(1)]
    """The concurrency limit."""
    scope: Scope = "global"
    """What has a limit of its own: the whole router, each provider, model, key or process; with
    ``cluster`` all replicas of the router share one."""
    overload: Literal["queue", "reject"] = "queue"
    """What happens to requests beyond the limit."""
    reject_status: Annotated[tuple[Status, ...], MinLen(1)] = (429, 503)
    """HTTP statuses of rejections."""
    queue_limit: Annotated[int, Ge(0)] | None = None
    """Most requests that wait in the queue at once."""
    queue_timeout_s: Seconds | None = None
    """A request that has waited this long is rejected."""
    counts: Literal["calls", "requests"] = "calls"
    """What is limited: calls to providers, or requests of clients."""
    coordination: Literal["none", "static", "lease", "session"] = "none"
    """How replicas share the limit of a cluster: each has a fixed part of it (``static``), holds
    slots in a store for as long as it renews its lease (``lease``), or for as long as its
    connection to the store lasts (``session``). ``none``: nothing is promised about faults."""
    lease_s: Seconds | None = None
    """How long a lease lasts that is not renewed, s."""
    recovers_within_s: Seconds | None = None
    """Longest time until the slots of a killed replica are free again, s."""
    store_loss: Literal["closed", "local", "open"] | None = None
    """What a replica does without the store: it admits nothing new (``closed``), up to the limit by
    itself (``local``), or everything (``open``)."""

    @property
    def rejections(self) -> tuple[int, ...]:
        """The statuses that count as rejections: 529 is what 503 is, in Anthropic's API."""
        with_529 = 503 in self.reject_status and 529 not in self.reject_status
        return (*self.reject_status, 529) if with_529 else self.reject_status


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelList:
    """The model list is cached for ``ttl_s`` seconds."""

    ttl_s: Seconds
    """Time to live of the cached list, s."""
    ttl_from: Literal["receipt", "request"] = "receipt"
    """When the TTL begins: when the list was received, or when it was requested."""
    partial: bool = False
    """While a provider is down, the models of the others are still listed."""
    partial_within_s: Seconds = 10.0
    """Longest wait for a partial list, s."""
    by_id: bool = False
    """``GET /v1/models/{id}`` is answered from the same cache."""
    under_cap: bool = False
    """Requests for the model list count towards the cap."""
    scope: Literal["process", "cluster"] = "process"
    """What has a cache of its own: each process, or all replicas of the router have one."""
    lock_s: Seconds | None = None
    """Longest time until another replica fetches in place of one that was killed, s."""
    path: ListPath | Annotated[tuple[ListPath, ...], MinLen(1)] = ""
    """Path of the list that is cached, as in /api/tags, or several: each has a cache of its own.
    Default: the list of the first route that speaks OpenAI's dialect."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The stated paths; none where none is stated."""
        if isinstance(self.path, str):
            return (self.path,) if self.path else ()
        return self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """When a client disconnects, its upstream call is cancelled within ``within_s`` seconds."""

    within_s: Seconds
    """Longest time from the disconnect to the cancelled upstream call, s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """At most ``max`` upstream attempts beyond the first."""

    max: Annotated[int, Ge(0)]
    """Attempts beyond the first."""
    honours_retry_after: bool = False
    """A provider's ``Retry-After`` is waited for before the next attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """A request whose instance of a provider fails is served by another instance or provider."""

    within_s: Seconds
    """Longest time from the request to the start of its answer, s, the failed attempt included."""
    attempts: Annotated[int, Ge(2)] = 2
    """Most calls for one request, over all instances and fallbacks together."""
    on: Annotated[tuple[Fault, ...], MinLen(1)] = (
        "refused",
        "reset",
        "5xx",
        "429",
        "timeout",
        "cut-before-first-byte",
    )
    """The failures of an instance after which another one is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Calls are spread over the instances of a provider."""

    policy: Literal["round-robin", "random", "least-busy", "weighted"] | None = None
    """How they are spread; without it the spread is reported, not judged."""
    tolerance: Annotated[float, Gt(0), Le(1)] = 0.2
    """How far the share of an instance may be from its due share, as part of that share."""
    weights: tuple[Annotated[int, Ge(1)], ...] = ()
    """Of each instance, for ``weighted``."""
    ejected_within: Annotated[int, Ge(1)] | None = None
    """Failures in a row after which an instance is left alone for ``recovery_s``."""
    affinity: Annotated[str, Matches(r"^[A-Za-z0-9-]+$")] | None = None
    """The request header whose value keeps a session on one instance."""
    instance_cap: Annotated[int, Ge(1)] | None = None
    """At most so many calls are in flight at each instance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """At most so much is admitted in each window; more is refused with 429."""

    requests_per_minute: Annotated[int, Ge(1)] | None = None
    """Requests that reach a provider in one window."""
    tokens_per_minute: Annotated[int, Ge(1)] | None = None
    """Tokens, of prompts and answers, in one window."""
    budget: Annotated[int, Ge(1)] | None = None
    """Tokens that a key may use in all; no window gives any back."""
    scope: Literal["key", "model", "global"] = "key"
    """What has limits of its own."""
    window_s: Seconds = 60.0
    """Length of the window, s: the minute, or what is configured in its place."""
    window: Literal["fixed", "sliding"] = "fixed"
    """``fixed``: two windows that follow each other may be used up at their common edge.
    ``sliding``: no span of ``window_s`` has more than the limit."""
    failed_count: bool = True
    """Requests that fail at the provider count as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """After the signal, requests that were accepted are answered, then the router exits with 0."""

    within_s: Seconds
    """Longest time from the signal to the exit, s. What is longer is ended with an error."""
    signal: Signal = "TERM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """The configuration is read again without a restart; requests in flight are answered."""

    signal: Signal | None = None
    """Sent to the router's process."""
    command: tuple[str, ...] = ()
    """Run in its place. Placeholders are filled, ``{pid}`` is the router's process."""
    within_s: Seconds = 5.0
    """Longest time until the new configuration is served, s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """What the router does while a provider is silent."""

    keepalive_s: Seconds | None = None
    """A client of a stream reads something at least this often, s."""
    stream_max_s: Seconds | None = None
    """A stream that takes this long in all is answered whole, s."""
    idle_timeout_s: Seconds | None = None
    """A provider that sends nothing for this long is given up, s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """Everything that one target claims; None where it claims nothing."""

    cap: Cap | None = None
    model_list: ModelList | None = None
    cancel: Cancel | None = None
    retries: Retries | None = None
    failover: Failover | None = None
    balance: Balance | None = None
    limits: Limits | None = None
    drain: Drain | None = None
    reload: Reload | None = None
    silence: Silence | None = None
    keys: Literal["own", "passthrough"] = "own"
    """``own``: a client's key never reaches a provider. ``passthrough``: it is forwarded."""
    workers: Annotated[int, Ge(1)] = 1
    """Router processes behind the port."""
    recovery_s: Annotated[float, Ge(0)] = 0.0
    """Cooldown after provider failures (circuit breaker), s."""
    rewrites: tuple[FieldName, ...] = ()
    """Top-level fields of a request whose values the router may change or drop, as in "user".
    ``model`` is always one: the router's names are not the provider's."""
    max_body_bytes: Annotated[int, Ge(1), Le(1_000_000_000)] | None = None
    """A request with a larger body may be refused; without it the router takes what its providers
    take."""
    response_cache: bool = False
    """Whole answers are cached: the same request of the same client may be answered without a
    call."""
    trace: bool = False
    """The client's ``traceparent`` is forwarded: the call continues its trace."""
    timeout: Literal["idle", "total"] = "idle"
    """What ``{timeout_s}`` bounds: ``idle``, how long a provider may send nothing; ``total``, the
    whole call."""

    def of(self, kind: type[P]) -> P | None:
        """The promise of this type; ``Promises`` itself is always made. None: not promised."""
        made = (
            self,
            self.cap,
            self.model_list,
            self.cancel,
            self.retries,
            self.failover,
            self.balance,
            self.limits,
            self.drain,
            self.reload,
            self.silence,
        )
        return next((promise for promise in made if isinstance(promise, kind)), None)
