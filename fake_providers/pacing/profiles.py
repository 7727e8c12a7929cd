"""How slow real servers are, as data, and the random draws of one call.

The figures are rounded from published measurements; README.md names them one by one. Where no
figure was published the comment says "assumed".

A draw depends only on the seed, the provider and the number of the call, and values are always
drawn in the same order, needed or not: so a run can be repeated.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Final, Literal

Z99: Final = 2.3263478740408408
"""A normal distribution's 99th percentile, in standard deviations."""
SPIKES: Final = 0.02
"""Share of gaps that are spikes. Half of the spikes are longer than their median, so that median
is the 99th percentile of all gaps."""
STEADY_SIGMA: Final = 0.02
SPIKE_SIGMA: Final = 0.1
POLL_S: Final = 0.25
"""Ollama polls at this interval whether a model is loaded."""
WARM_S: Final = (0.001, 0.007)
"""Load duration of a loaded model: the samples in Ollama's documentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lognormal:
    """A lognormal distribution given by its 50th and 99th percentile, clamped at both ends."""

    p50: float
    p99: float
    least: float = 0.0
    most: float = math.inf

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm."""
        return math.log(self.p99 / self.p50) / Z99

    def draw(self, chance: random.Random) -> float:
        """One value."""
        value = self.p50 * math.exp(chance.gauss(0.0, self.sigma))
        return min(max(value, self.least), self.most)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of answers given by quantiles, interpolated linearly."""

    shares: tuple[float, ...]
    tokens: tuple[float, ...]
    times: float = 1.0

    def draw(self, chance: random.Random) -> int:
        """One length, at least 1."""
        share = chance.random()
        at = min(bisect_right(self.shares, share), len(self.shares) - 1)
        low, high = self.shares[at - 1], self.shares[at]
        part = (share - low) / (high - low)
        value = self.tokens[at - 1] + part * (self.tokens[at] - self.tokens[at - 1])
        return max(1, round(value * self.times))


AZURE_CONVERSATION: Final = Lengths(
    (0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0), (1, 85, 129, 395, 424, 601, 1000)
)
"""Azure's conversation trace of 2023. Minimum and maximum are assumed."""
AZURE_MEAN: Final = 211
SHAREGPT_MEAN: Final = 203


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of server. Times in seconds, lengths in tokens."""

    name: str
    provider: Literal["openai", "ollama", "anthropic"]
    """The fake to which it applies."""
    first: Lognormal
    """Time to first token, from getting a slot."""
    included: float
    """Tokens of the prompt that ``first`` includes; each further one costs time."""
    prefill_rate: float
    """Tokens of a prompt read per second."""
    chunk: float
    """Tokens of a prompt that are read at once, while all other streams stall."""
    prompts: Lognormal
    """The prompt lengths for which the published times to first token hold."""
    gap: float
    """Inter-token latency of a single stream: the 50th percentile."""
    gap_p99: float
    lengths: Lengths
    slots: int | None
    """Concurrent calls per model; None: unlimited."""
    exponent: float
    """``a`` of the batching curve; 1: concurrent streams do not slow each other down."""
    total: float
    """Total throughput of all streams, at most this many times that of a single one."""
    load: Lognormal | None
    """Time to load a model; None: it is always loaded."""
    requests: int | None = None
    """Requests per minute and model; None: unlimited."""
    tokens: int | None = None
    """Tokens per minute and model; None: unlimited."""
    burst: int = 1
    """A chunk of a stream has 1 to this many tokens."""

    def prompt_s(self, tokens: float) -> float:
        """Time to read a prompt."""
        return tokens / self.prefill_rate

    def first_s(self, chance: random.Random, prompt_tokens: float) -> float:
        """Draw the time to first token for a prompt of this length."""
        return self.first.draw(chance) + self.prompt_s(max(0.0, prompt_tokens - self.included))

    def gap_s(self, chance: random.Random) -> float:
        """Draw an inter-token gap of a single stream: near constant, with spikes."""
        if chance.random() < SPIKES:
            return self.gap_p99 * math.exp(chance.gauss(0.0, SPIKE_SIGMA))
        return self.gap * math.exp(chance.gauss(0.0, STEADY_SIGMA))

    def slowdown(self, streams: int) -> float:
        """The factor by which gaps grow with this many concurrent streams."""
        if streams <= 1:
            return 1.0
        return max(math.pow(streams, 1.0 - self.exponent), streams / self.total)


class Draw:
    """The random values of one call."""

    __slots__ = ("_chance", "_profile", "_seed", "_sizes", "first_s", "load_s", "tokens", "warm_s")

    def __init__(
        self,
        profile: Profile,
        *,
        seed: int,
        provider: str,
        call: int,
        prompt_tokens: float,
        inputs: Sequence[float] = (),
    ) -> None:
        """``inputs``: tokens of each input that is read separately; empty: one prompt."""
        self._profile = profile
        self._seed = f"{seed}/{provider}/{call}"
        self._chance = chance = random.Random(self._seed)  # noqa: S311
        self._sizes: Iterator[int] = iter(())
        self.tokens = profile.lengths.draw(chance)
        self.warm_s = chance.uniform(*WARM_S)
        load = profile.load.draw(chance) if profile.load else 0.0
        self.load_s = math.ceil(load / POLL_S) * POLL_S
        each = inputs or (prompt_tokens,)
        self.first_s = sum(profile.first_s(chance, tokens) for tokens in each)

    def chunks(self, tokens: int, rows: int = 1) -> tuple[int, ...]:
        """Tokens in each chunk of a stream; the gaps are between these from now on.

        Empty: one in each. ``rows``: answers that are streamed in turn, a chunk of each.
        """
        most = self._profile.burst
        if most <= 1:
            return ()
        # A generator of its own, so that the other draws are the same, streamed or not.
        chance = random.Random(f"{self._seed}/chunks")  # noqa: S311
        sizes: list[int] = []
        while tokens > 0:
            sizes.append(min(tokens, chance.randint(1, most)))
            tokens -= sizes[-1]
        self._sizes = islice(chain.from_iterable(repeat(size, rows) for size in sizes), 1, None)
        return tuple(sizes)

    def gap_s(self) -> float:
        """The next gap of this call as a single stream: to the end of the next chunk's tokens."""
        return sum(self._profile.gap_s(self._chance) for _ in range(next(self._sizes, 1)))


OLLAMA_GPU: Final = Profile(
    name="ollama-gpu-8b",
    provider="ollama",
    first=Lognormal(p50=0.15, p99=0.17),
    included=0,
    prefill_rate=2000,
    chunk=88,  # makes a gap of 16 ms the spike of 60 ms
    prompts=Lognormal(p50=200, p99=1700),  # 0.25 s and 1.0 s, less 0.15 s
    gap=0.016,
    gap_p99=0.020,
    lengths=AZURE_CONVERSATION,
    slots=1,
    exponent=0.75,
    total=1.6,
    load=Lognormal(p50=6, p99=10, least=3, most=10),
)
OLLAMA_CPU: Final = Profile(
    name="ollama-cpu-8b",
    provider="ollama",
    first=Lognormal(p50=0.3, p99=0.34),
    included=0,
    prefill_rate=40,
    chunk=512,  # llama.cpp's batch, assumed: with one slot there is no other stream to stall
    prompts=Lognormal(p50=108, p99=988),  # 3 s and 25 s, less 0.3 s
    gap=0.125,
    gap_p99=0.160,
    lengths=Lengths(AZURE_CONVERSATION.shares, AZURE_CONVERSATION.tokens, 0.5),
    slots=1,
    exponent=0.75,
    total=1.6,
    load=Lognormal(p50=10, p99=30, least=5, most=30),
)
HOSTED_FAST: Final = Profile(
    name="hosted-fast",
    provider="openai",
    first=Lognormal(p50=0.645, p99=1.36),
    included=math.inf,
    prefill_rate=math.inf,
    chunk=0,
    prompts=Lognormal(p50=20, p99=20),  # "tiny"
    gap=0.0095,
    gap_p99=0.030,
    lengths=AZURE_CONVERSATION,
    slots=None,
    exponent=1.0,
    total=math.inf,
    load=None,
    requests=10_000,  # gpt-4o-mini's budgets in OpenAI's usage tier 4
    tokens=10_000_000,
    burst=4,  # assumed
)
VLLM: Final = Profile(
    name="vllm-8b",
    provider="openai",
    first=Lognormal(p50=0.029, p99=0.416),
    included=230,
    prefill_rate=8000,  # assumed: a ShareGPT prompt of 230 tokens in the median of 29 ms
    chunk=2048,  # assumed: vLLM's default
    prompts=Lognormal(p50=230, p99=230),
    gap=0.0065,
    gap_p99=0.057,
    lengths=Lengths(
        AZURE_CONVERSATION.shares, AZURE_CONVERSATION.tokens, SHAREGPT_MEAN / AZURE_MEAN
    ),
    slots=256,
    exponent=0.875,
    total=math.inf,
    load=None,
)

ANTHROPIC_FAST: Final = Profile(
    name="anthropic-fast",
    provider="anthropic",
    first=Lognormal(p50=0.597, p99=1.5),
    included=math.inf,
    prefill_rate=math.inf,
    chunk=0,
    prompts=Lognormal(p50=200, p99=200),
    gap=0.0147,  # 68 tokens a second
    gap_p99=0.045,
    lengths=AZURE_CONVERSATION,
    slots=None,
    exponent=1.0,
    total=math.inf,
    load=None,
    burst=4,  # assumed
)

PROFILES: Final = {
    each.name: each for each in (OLLAMA_GPU, OLLAMA_CPU, HOSTED_FAST, VLLM, ANTHROPIC_FAST)
}


def select_profiles(names: Iterable[str]) -> tuple[Profile, ...]:
    """The profiles of these names. Raises ValueError for two of the same provider."""
    profiles = tuple(PROFILES[name] for name in names)
    if len({profile.provider for profile in profiles}) < len(profiles):
        raise ValueError("--profile: two profiles of one provider; give at most one for each.")
    return profiles
