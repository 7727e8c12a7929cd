"""The latency profiles against the published figures, and that draws can be drawn again.

The bounds are derived, not chosen. The standard error of a quantile q of n draws, relative to its
value, is ``sqrt(q (1 - q) / n) / (x f(x))``; for a lognormal ``x f(x)`` is ``phi(z_q) / sigma``. A
mixture's density is scaled by the share of the part that the quantile falls in. The bound is five
standard errors, plus the share by which that other part moves the quantile.
"""

from __future__ import annotations

import math
import random
import re
from pathlib import Path
from statistics import NormalDist, mean

import pytest

import fake_providers
from fake_providers.pacing.profiles import (
    PROFILES,
    SPIKE_SIGMA,
    SPIKES,
    STEADY_SIGMA,
    WARM_S,
    Draw,
    Lognormal,
    Profile,
)

DRAWS = 20_000
SEED = 20261122
ERRORS = 5
NORMAL = NormalDist()

PUBLISHED = {
    "ollama-gpu-8b": (0.25, 1.0, 0.016, 0.020),
    "ollama-cpu-8b": (3.0, 25.0, 0.125, 0.160),
    "hosted-fast": (0.645, 1.36, 0.0095, 0.030),
    "vllm-8b": (0.029, 0.416, 0.0065, 0.057),
    "anthropic-fast": (0.597, 1.5, 0.0147, 0.045),
}
"""First token at the 50th and 99th percentile, gap at the same, in seconds."""


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


def error(share: float, sigma: float, part: float = 1.0, within: float | None = None) -> float:
    """Relative standard error of a quantile that is the quantile ``within`` of a ``part``."""
    density = NORMAL.pdf(NORMAL.inv_cdf(share if within is None else within)) * part
    return math.sqrt(share * (1 - share) / DRAWS) * sigma / density


@pytest.mark.parametrize("name", PUBLISHED)
def test_times_to_the_first_token_are_the_published_ones(name: str) -> None:
    profile = PROFILES[name]
    prompts = random.Random(SEED)
    firsts = [
        Draw(
            profile,
            seed=SEED,
            provider=profile.provider,
            call=call,
            prompt_tokens=profile.prompts.draw(prompts),
        ).first_s
        for call in range(DRAWS)
    ]
    # A sum of two spreads is spread no more, relative to itself, than the wider of them.
    sigma = max(profile.first.sigma, profile.prompts.sigma)
    for share, published in zip((0.5, 0.99), PUBLISHED[name][:2], strict=True):
        bound = ERRORS * error(share, sigma) + 0.01
        assert quantile(firsts, share) == pytest.approx(published, rel=bound)


@pytest.mark.parametrize("name", PUBLISHED)
def test_gaps_are_the_published_ones(name: str) -> None:
    profile = PROFILES[name]
    chance = random.Random(SEED)
    gaps = [profile.gap_s(chance) for _ in range(DRAWS)]
    p50, p99 = PUBLISHED[name][2:]
    # Spikes are all longer than the median, so it is the steady part's 0.5 / 0.98 quantile.
    within = 0.5 / (1 - SPIKES)
    moved = math.exp(NORMAL.inv_cdf(within) * STEADY_SIGMA) - 1
    bound = ERRORS * error(0.5, STEADY_SIGMA, 1 - SPIKES, within) + moved
    assert quantile(gaps, 0.5) == pytest.approx(p50, rel=bound)
    bound = ERRORS * error(0.99, SPIKE_SIGMA, SPIKES, 0.5)
    assert quantile(gaps, 0.99) == pytest.approx(p99, rel=bound)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_lone_stream_is_near_constant_but_for_spikes(name: str) -> None:
    profile = PROFILES[name]
    chance = random.Random(SEED)
    gaps = [profile.gap_s(chance) for _ in range(DRAWS)]
    steady = [gap for gap in gaps if abs(math.log(gap / profile.gap)) < ERRORS * STEADY_SIGMA]
    # A spike may fall among the steady ones, where the two are near each other.
    off = ERRORS * math.sqrt(SPIKES * (1 - SPIKES) / DRAWS)
    assert 1 - len(steady) / DRAWS <= SPIKES + off


def test_lengths_are_those_of_the_azure_conversations() -> None:
    lengths = PROFILES["hosted-fast"].lengths
    chance = random.Random(SEED)
    drawn = sorted(float(lengths.draw(chance)) for _ in range(DRAWS))
    for share, published in ((0.25, 85), (0.5, 129), (0.75, 395), (0.9, 424), (0.99, 601)):
        # Within five standard errors of the share, the published length is among the draws.
        off = ERRORS * math.sqrt(share * (1 - share) / DRAWS)
        assert quantile(drawn, share - off) <= published <= quantile(drawn, min(share + off, 1))


@pytest.mark.parametrize(
    ("name", "published"), [("hosted-fast", 211), ("ollama-cpu-8b", 105.5), ("vllm-8b", 203)]
)
def test_mean_lengths_are_near_the_published_ones(name: str, published: float) -> None:
    # Straight lines between five quantiles are 4 % off the trace's mean; rounding adds no more.
    chance = random.Random(SEED)
    drawn = [PROFILES[name].lengths.draw(chance) for _ in range(DRAWS)]
    assert mean(drawn) == pytest.approx(published, rel=0.06)


@pytest.mark.parametrize(
    ("name", "least", "most"), [("ollama-gpu-8b", 3, 10), ("ollama-cpu-8b", 5, 30)]
)
def test_a_load_takes_a_drawn_time_and_is_visible_to_a_poll(
    name: str, least: float, most: float
) -> None:
    loads = [draw(PROFILES[name], call).load_s for call in range(2000)]
    assert all(least <= load <= most for load in loads)
    assert all((load / 0.25).is_integer() for load in loads)
    assert len(set(loads)) > 10


def draw(profile: Profile, call: int, seed: int = SEED) -> Draw:
    return Draw(profile, seed=seed, provider=profile.provider, call=call, prompt_tokens=100)


def drawn(one: Draw) -> tuple[float, ...]:
    return (
        one.tokens,
        one.warm_s,
        one.load_s,
        one.first_s,
        *(one.gap_s() for _ in range(50)),
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_draw_depends_on_seed_provider_and_number_alone(name: str) -> None:
    profile = PROFILES[name]
    assert drawn(draw(profile, 7)) == drawn(draw(profile, 7))
    assert drawn(draw(profile, 7)) != drawn(draw(profile, 8))
    assert drawn(draw(profile, 7)) != drawn(draw(profile, 7, SEED + 1))
    other = Draw(profile, seed=SEED, provider="other", call=7, prompt_tokens=100)
    assert drawn(draw(profile, 7)) != drawn(other)


def test_a_longer_prompt_takes_longer_where_prompts_cost() -> None:
    for name, costs in (("ollama-gpu-8b", 1000 / 2000), ("ollama-cpu-8b", 1000 / 40)):
        short, long = (
            Draw(PROFILES[name], seed=1, provider="ollama", call=1, prompt_tokens=tokens).first_s
            for tokens in (100, 1100)
        )
        assert long - short == pytest.approx(costs)
    hosted = PROFILES["hosted-fast"]
    assert hosted.first_s(random.Random(1), 10) == hosted.first_s(random.Random(1), 10_000)


def test_a_warm_model_answers_in_milliseconds() -> None:
    for call in range(100):
        assert WARM_S[0] <= draw(PROFILES["ollama-gpu-8b"], call).warm_s <= WARM_S[1]


@pytest.mark.parametrize(("streams", "alone", "together"), [(32, 31.4, 475.0), (4, 79.0, 225.0)])
def test_the_batching_curve_is_the_published_one(
    streams: int, alone: float, together: float
) -> None:
    # The ends of llama.cpp's two tables, in tokens a second. An exponent that is off by 0.05 is
    # off by a fifth of the whole at 32 streams: more than one machine differs from the other.
    fitted = math.log(together / alone, streams)
    assert PROFILES["ollama-gpu-8b"].exponent == pytest.approx(fitted, abs=0.05)


def test_all_streams_together_get_no_more_than_the_published_plateau() -> None:
    ollama = PROFILES["ollama-gpu-8b"]
    assert [streams / ollama.slowdown(streams) for streams in (2, 4, 8)] == pytest.approx(
        [1.6, 1.6, 1.6]
    )
    assert ollama.slowdown(1) == 1.0
    vllm = PROFILES["vllm-8b"]
    assert vllm.slowdown(256) == pytest.approx(256**0.125)
    assert PROFILES["hosted-fast"].slowdown(1000) == 1.0


def test_a_spread_is_cut_at_its_ends() -> None:
    spread = Lognormal(p50=1, p99=2, least=0.9, most=1.1)
    chance = random.Random(SEED)
    assert {0.9, 1.1} <= {spread.draw(chance) for _ in range(1000)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_readme_has_the_figures_that_are_tested_here(name: str) -> None:
    readme = (Path(fake_providers.__file__).parent / "README.md").read_text()
    (row,) = (line for line in readme.splitlines() if line.startswith(f"| `{name}`"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    first, gap = (re.findall(r"[\d.]+", cell)[:2] for cell in cells[2:4])
    figures = [*map(float, first), *(float(each) / 1000 for each in gap)]
    assert figures == pytest.approx(PUBLISHED[name])
    profile = PROFILES[name]
    assert cells[1].lower() == profile.provider
    assert cells[4] == str(profile.slots or "unlimited")
