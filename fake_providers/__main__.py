"""``python -P -m fake_providers``: reads the command line and runs the process."""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from fake_providers.calls.host_guard import on_loopback
from fake_providers.http.ports import StartFailed
from fake_providers.http.slow_clients import READ_TIMEOUT_S
from fake_providers.pacing.jobs import FOREVER
from fake_providers.pacing.profiles import PROFILES, Profile, one_each
from fake_providers.pacing.scheduler import MOST_LOADED, MOST_QUEUED, SECOND
from fake_providers.prompt.behaviour import LONGEST_S, MOST_TOKENS, Behaviour
from fake_providers.server import Settings, run

LONGEST_KEEP_ALIVE_S: Final = 1e9
MOST_A_MINUTE: Final = 1_000_000_000


def settings_of(arguments: list[str]) -> Settings:
    """The settings that the command line states. Exits with 2 on a wrong word."""
    parser = argparse.ArgumentParser(
        prog="python -P -m fake_providers",
        description="Fake OpenAI and Ollama servers that are slow, scriptable and watching.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--openai-port", type=_port, default=8001, help="0: a free port")
    parser.add_argument("--ollama-port", type=_port, default=11434, help="0: a free port")
    parser.add_argument("--control-port", type=_port, default=8002, help="0: a free port")
    parser.add_argument("--ledger", type=Path, help="the file of records; it must not exist")
    parser.add_argument("--run", type=_run, default="", help="the run's token, for the header")
    parser.add_argument("--announce", type=Path, help="written once all three listen: URLs, pid")
    parser.add_argument("--first", type=_seconds, default=0.0, help="seconds to an answer's head")
    parser.add_argument("--gap", type=_seconds, default=0.0, help="seconds between two pieces")
    parser.add_argument(
        "--tokens", type=_tokens, help="numbered pieces of an answer (4, or as the profile draws)"
    )
    parser.add_argument("--seed", type=int, help="of the identifiers in answers, and of profiles")
    parser.add_argument(
        "--exit-with-stdin", action="store_true", help="stop when standard input ends"
    )
    _add_profile(parser)
    given = parser.parse_args(arguments)
    profiles = _profiles(parser, given)
    hosted = [each for each in profiles if each.provider == "openai"]
    requests, tokens = (hosted[0].requests, hosted[0].tokens) if hosted else (None, None)
    seed = given.seed
    if profiles and seed is None:
        # Told on the terminal, so that the run can be played again.
        seed = random.SystemRandom().getrandbits(32)
    return Settings(
        host=given.host,
        openai_port=given.openai_port,
        ollama_port=given.ollama_port,
        control_port=given.control_port,
        ledger=given.ledger,
        run=given.run,
        announce=given.announce,
        default=Behaviour(
            first_s=given.first, gap_s=given.gap, tokens=4 if given.tokens is None else given.tokens
        ),
        exit_with_stdin=given.exit_with_stdin,
        seed=seed,
        profiles=profiles,
        time_scale=given.time_scale,
        slots=given.slots,
        queue=given.queue,
        most_queued=given.max_queue,
        most_loaded=given.max_loaded,
        keep_alive_ns=FOREVER if given.keep_alive < 0 else round(given.keep_alive * SECOND),
        draws_lengths=given.tokens is None,
        requests=requests if given.rpm is None else given.rpm or None,
        tokens=tokens if given.tpm is None else given.tpm or None,
        read_timeout_s=given.read_timeout,
    )


def _add_profile(parser: argparse.ArgumentParser) -> None:
    slow = parser.add_argument_group("as slow as a real server")
    slow.add_argument(
        "--profile",
        action="append",
        choices=sorted(PROFILES),
        default=[],
        help="of one provider; a second one may be given for the other",
    )
    slow.add_argument("--time-scale", type=_scale, default=1.0, help="0.1: waits a tenth as long")
    for name, what in (("rpm", "requests"), ("tpm", "tokens")):
        slow.add_argument(
            f"--{name}",
            type=_budget,
            help=f"{what} a minute for each model of OpenAI's, then 429; 0: any number",
        )
    slow.add_argument("--slots", type=_some, help="calls worked on at once, for one model")
    slow.add_argument(
        "--queue",
        choices=["as_coded", "as_documented"],
        default="as_coded",
        help="what Ollama's bound is for: calls whose model is not loaded, or all that wait",
    )
    slow.add_argument("--max-queue", type=_tokens, default=MOST_QUEUED, help="Ollama's bound")
    slow.add_argument("--max-loaded", type=_some, default=MOST_LOADED, help="models at once")
    slow.add_argument(
        "--keep-alive",
        type=_keep_alive,
        default=300.0,
        help="seconds to unloading; negative: never",
    )
    slow.add_argument(
        "--read-timeout", type=_scale, default=READ_TIMEOUT_S, help="seconds for a whole request"
    )


def _profiles(parser: argparse.ArgumentParser, given: argparse.Namespace) -> tuple[Profile, ...]:
    try:
        return one_each(given.profile)
    except ValueError as error:
        parser.error(str(error))


def _port(text: str) -> int:
    return _within(int(text), 65535)


def _tokens(text: str) -> int:
    return _within(int(text), MOST_TOKENS)


def _budget(text: str) -> int:
    return _within(int(text), MOST_A_MINUTE)


def _some(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MOST_TOKENS:
        raise argparse.ArgumentTypeError(f"{text} is not within 1 and {MOST_TOKENS}")
    return number


def _scale(text: str) -> float:
    number = float(text)
    if not 0 < number <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0 and at most {LONGEST_S:g}")
    return number


def _keep_alive(text: str) -> float:
    number = float(text)
    if not abs(number) <= LONGEST_KEEP_ALIVE_S:
        raise argparse.ArgumentTypeError(f"{text} is not within {LONGEST_KEEP_ALIVE_S:g} seconds")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text} is not within 0 and {LONGEST_S:g}")
    return number


def _within(number: int, most: int) -> int:
    if not 0 <= number <= most:
        raise argparse.ArgumentTypeError(f"{number} is not within 0 and {most}")
    return number


def _run(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]{0,12}", text):
        raise argparse.ArgumentTypeError("a run's token is 1 to 12 of a-z and 0-9")
    return text


def banner(urls: Mapping[str, str], profiles: Iterable[Profile], seed: int | None) -> str:
    """What somebody who starts the fakes by hand needs: the addresses, and clients' settings."""
    openai, ollama, control = urls["openai"], urls["ollama"], urls["control"]
    names = ", ".join(f"{profile.provider}: {profile.name}" for profile in profiles)
    lines = [
        f"OpenAI    {openai}/v1",
        f"Ollama    {ollama}",
        f"Control   {control}/docs",
        f"Profile   {f'{names} (repeat with --seed {seed})' if names else 'none: no delays'}",
        "",
        "Point a client at them:",
        f"  export OPENAI_BASE_URL={openai}/v1 OPENAI_API_KEY=any",
        f"  export OLLAMA_HOST={ollama}",
        f'  openai.OpenAI(base_url="{openai}/v1", api_key="any")',
        f'  ollama.Client(host="{ollama}")',
        f'  ChatOpenAI(model="fake-chat", base_url="{openai}/v1", api_key="any")',
        f'  ChatOllama(model="fake-chat", base_url="{ollama}")',
        "or the reference router:",
        f"  export ROUTER_OPENAI_URL={openai} ROUTER_OLLAMA_URL={ollama}",
        "",
        "Stop with Ctrl-C.",
    ]
    return "\n".join(lines)


def exposure_warning(host: str) -> str:
    """One sentence when other machines can reach the fakes; else empty."""
    if on_loopback(host):
        return ""
    return (
        f"Warning: the fakes listen on {host}, which other machines can reach: anyone who does can "
        "control them and read every request that they received."
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the process. Returns its exit status."""
    settings = settings_of(sys.argv[1:] if arguments is None else arguments)
    if warning := exposure_warning(settings.host):
        print(warning, file=sys.stderr)  # noqa: T201 - for whoever started it

    def greet(urls: Mapping[str, str]) -> None:
        if settings.announce is None:
            print(banner(urls, settings.profiles, settings.seed), flush=True)  # noqa: T201 - for people

    try:
        return run(settings, on_listening=greet)
    except StartFailed as error:
        print(error, file=sys.stderr)  # noqa: T201 - the reason it ends
        return 1


if __name__ == "__main__":
    sys.exit(main())
