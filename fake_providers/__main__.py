"""``python -P -m fake_providers``: reads the command line and runs the process."""

from __future__ import annotations

import argparse
import os
import random
import re
import secrets
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from fake_providers.calls.host_guard import on_loopback
from fake_providers.http.ports import StartFailed
from fake_providers.http.slow_clients import READ_TIMEOUT_S
from fake_providers.pacing.jobs import FOREVER
from fake_providers.pacing.profiles import PROFILES, Profile, select_profiles
from fake_providers.pacing.scheduler import MAX_LOADED, MAX_QUEUED, SECOND
from fake_providers.prompt.behaviour import MAX_TOKENS, MAX_WAIT_S, Behaviour
from fake_providers.prompt.instances import MOST
from fake_providers.server import Settings, run

ANTHROPIC_PORT: Final = 8003
NO_PORT: Final = -1
MAX_KEEP_ALIVE_S: Final = 1e9
MAX_PER_MINUTE: Final = 1_000_000_000


def settings_of(arguments: list[str]) -> Settings:
    """The settings from the command line. Exits with 2 on a wrong option."""
    parser = argparse.ArgumentParser(
        prog="python -P -m fake_providers",
        description="Fake OpenAI and Ollama servers: slow, scriptable, and recording every call.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--openai-port",
        type=_port_or_none,
        default=8001,
        help="(%(default)s); 0: a free one; none: no such server",
    )
    parser.add_argument(
        "--ollama-port",
        type=_port_or_none,
        default=11434,
        help="(%(default)s); 0: a free one; none: no such server",
    )
    parser.add_argument(
        "--control-port", type=_port, default=8002, help="(%(default)s); 0: a free one"
    )
    parser.add_argument(
        "--anthropic-port",
        type=_port_or_none,
        default=None,
        help=f"({ANTHROPIC_PORT}, or with --announce none); 0: a free one; none: no such server",
    )
    parser.add_argument(
        "--instance",
        type=int,
        choices=range(1, MOST + 1),
        default=1,
        metavar="K",
        help="these are the K-th servers of their providers: the second is openai-2 in all records",
    )
    parser.add_argument(
        "--control-token",
        type=_token,
        metavar="TOKEN",
        help="token that calls of the control API must carry; -: the first line of standard input; "
        "none: no token, on loopback only (a random one, printed or announced)",
    )
    parser.add_argument(
        "--ledger", type=Path, help="file to record every call in; it must not exist"
    )
    parser.add_argument(
        "--run", type=_run, default="", help="run token for the header of the ledger"
    )
    parser.add_argument(
        "--announce", type=Path, help="write URLs and pid to this JSON file once all ports listen"
    )
    parser.add_argument("--first", type=_seconds, default=0.0, help="time to response headers, s")
    parser.add_argument(
        "--gap", type=_seconds, default=0.0, help="inter-token latency of streams, s"
    )
    parser.add_argument(
        "--tokens", type=_tokens, help="length of an answer, tokens (4, or drawn from the profile)"
    )
    parser.add_argument("--seed", type=int, help="random seed of identifiers and of profiles")
    parser.add_argument(
        "--exit-with-stdin", action="store_true", help="stop when standard input is closed"
    )
    _add_profile(parser)
    given = parser.parse_args(arguments)
    profiles = _profiles(parser, given)
    hosted = [each for each in profiles if each.provider == "openai"]
    requests, tokens = (hosted[0].requests, hosted[0].tokens) if hosted else (None, None)
    token = secrets.token_hex(16) if given.control_token is None else given.control_token
    seed = given.seed
    if profiles and seed is None:
        # Printed on the terminal, so that the run can be repeated.
        seed = random.SystemRandom().getrandbits(32)
    settings = Settings(
        host=given.host,
        openai_port=_served(given.openai_port),
        ollama_port=_served(given.ollama_port),
        control_port=given.control_port,
        anthropic_port=_anthropic_port(given),
        instance=given.instance,
        control_token=token,
        announces_token=given.control_token is None,
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
        max_queued=given.max_queue,
        max_loaded=given.max_loaded,
        keep_alive_ns=FOREVER if given.keep_alive < 0 else round(given.keep_alive * SECOND),
        draws_lengths=given.tokens is None,
        requests=requests if given.rpm is None else given.rpm or None,
        tokens=tokens if given.tpm is None else given.tpm or None,
        read_timeout_s=given.read_timeout,
    )
    _check_served(parser, settings)
    _check_guarded(parser, settings)
    return settings


def _add_profile(parser: argparse.ArgumentParser) -> None:
    slow = parser.add_argument_group("realistic latency")
    slow.add_argument(
        "--profile",
        action="append",
        choices=sorted(PROFILES),
        default=[],
        help="latency profile of one provider; repeat it for the other",
    )
    slow.add_argument(
        "--time-scale", type=_scale, default=1.0, help="scale all waits (0.1 = ten times faster)"
    )
    for name, unit in (("rpm", "requests"), ("tpm", "tokens")):
        slow.add_argument(
            f"--{name}",
            type=_budget,
            help=f"{unit} per minute for each model of the OpenAI fake, then 429; 0: unlimited",
        )
    slow.add_argument("--slots", type=_positive, help="concurrent calls per model")
    slow.add_argument(
        "--queue",
        choices=["as_coded", "as_documented"],
        default="as_coded",
        help="calls that --max-queue counts: those whose model is not loaded, or all that wait",
    )
    slow.add_argument(
        "--max-queue", type=_tokens, default=MAX_QUEUED, help="queued calls of Ollama, at most"
    )
    slow.add_argument(
        "--max-loaded", type=_positive, default=MAX_LOADED, help="models loaded at once, at most"
    )
    slow.add_argument(
        "--keep-alive",
        type=_keep_alive,
        default=300.0,
        help="idle seconds until a model is unloaded (negative: never)",
    )
    slow.add_argument(
        "--read-timeout",
        type=_scale,
        default=READ_TIMEOUT_S,
        help="seconds for a request to arrive",
    )


def _profiles(parser: argparse.ArgumentParser, given: argparse.Namespace) -> tuple[Profile, ...]:
    try:
        return select_profiles(given.profile)
    except ValueError as error:
        parser.error(str(error))


def _anthropic_port(given: argparse.Namespace) -> int | None:
    port: int | None = given.anthropic_port
    if port is None and given.announce is None:
        port = ANTHROPIC_PORT
    # A program that does not ask for it does not expect it.
    return _served(port)


def _served(port: int | None) -> int | None:
    return None if port == NO_PORT else port


def _check_served(parser: argparse.ArgumentParser, settings: Settings) -> None:
    ports = {
        "openai": settings.openai_port,
        "ollama": settings.ollama_port,
        "anthropic": settings.anthropic_port,
    }
    if all(port is None for port in ports.values()):
        parser.error("no server is left: give one of them a port.")
    for profile in settings.profiles:
        if ports[profile.provider] is None:
            titles = {"openai": "OpenAI", "ollama": "Ollama", "anthropic": "Anthropic"}
            parser.error(
                f"--profile: there is no fake {titles[profile.provider]} server without "
                f"--{profile.provider}-port."
            )


def _check_guarded(parser: argparse.ArgumentParser, settings: Settings) -> None:
    if not (settings.control_token or on_loopback(settings.host)):
        parser.error(
            f"--control-token none: other machines can reach {settings.host}, and whoever controls "
            "the fakes decides what a run proves. Give a token, or leave the option out for a "
            "random one."
        )


def _token(text: str) -> str:
    if text == "none":
        return ""
    token = _first_line_of_stdin() if text == "-" else text
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]{8,200}", token):
        raise argparse.ArgumentTypeError("a token is 8 to 200 letters, digits and . _ ~ + / = -")
    return token


def _first_line_of_stdin() -> str:
    """Read no byte more: the rest is not for here."""
    line = bytearray()
    while len(line) < 256 and (byte := os.read(0, 1)) not in {b"", b"\n"}:
        line += byte
    return line.decode("latin-1").strip()


def _port(text: str) -> int:
    return _within(int(text), 65535)


def _port_or_none(text: str) -> int:
    return NO_PORT if text == "none" else _port(text)


def _tokens(text: str) -> int:
    return _within(int(text), MAX_TOKENS)


def _budget(text: str) -> int:
    return _within(int(text), MAX_PER_MINUTE)


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_TOKENS:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and {MAX_TOKENS}")
    return number


def _scale(text: str) -> float:
    number = float(text)
    if not 0 < number <= MAX_WAIT_S:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {MAX_WAIT_S:g}")
    return number


def _keep_alive(text: str) -> float:
    number = float(text)
    if not abs(number) <= MAX_KEEP_ALIVE_S:
        raise argparse.ArgumentTypeError(f"{text} is more than {MAX_KEEP_ALIVE_S:g} seconds")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number <= MAX_WAIT_S:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {MAX_WAIT_S:g}")
    return number


def _within(number: int, most: int) -> int:
    if not 0 <= number <= most:
        raise argparse.ArgumentTypeError(f"{number} is not between 0 and {most}")
    return number


def _run(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]{0,12}", text):
        raise argparse.ArgumentTypeError("a run token is 1 to 12 characters of a-z and 0-9")
    return text


def banner(
    urls: Mapping[str, str], profiles: Iterable[Profile], seed: int | None, token: str
) -> str:
    """What somebody who starts the fakes by hand needs: the addresses, and clients' settings."""
    openai, ollama, anthropic = (urls.get(name) for name in ("openai", "ollama", "anthropic"))
    names = ", ".join(f"{profile.provider}: {profile.name}" for profile in profiles)
    lines = [
        *([f"OpenAI    {openai}/v1"] if openai else []),
        *([f"Ollama    {ollama}"] if ollama else []),
        *([f"Anthropic {anthropic}"] if anthropic else []),
        f"Control   {urls['control']}/docs",
        f"Token     {token or 'none: every program on this machine can control them'}",
        f"Profile   {f'{names} (repeat with --seed {seed})' if names else 'none: no delays'}",
        "",
        "Point a client at them:",
        *([f"  export OPENAI_BASE_URL={openai}/v1 OPENAI_API_KEY=any"] if openai else []),
        *([f"  export OLLAMA_HOST={ollama}"] if ollama else []),
        *([f"  export ANTHROPIC_BASE_URL={anthropic} ANTHROPIC_API_KEY=any"] if anthropic else []),
        *([f'  openai.OpenAI(base_url="{openai}/v1", api_key="any")'] if openai else []),
        *([f'  ollama.Client(host="{ollama}")'] if ollama else []),
        *([f'  anthropic.Anthropic(base_url="{anthropic}", api_key="any")'] if anthropic else []),
        *(
            [f'  ChatOpenAI(model="fake-chat", base_url="{openai}/v1", api_key="any")']
            * bool(openai)
        ),
        *([f'  ChatOllama(model="fake-chat", base_url="{ollama}")'] if ollama else []),
        "or the reference router:",
        "  export "
        + " ".join(
            f"ROUTER_{name.upper()}_URL={url}" for name, url in urls.items() if name != "control"
        ),
        "",
        "Stop with Ctrl-C.",
    ]
    return "\n".join(lines)


def exposure_warning(host: str) -> str:
    """One sentence when other machines can reach the fakes; else empty."""
    if on_loopback(host):
        return ""
    return (
        f"Warning: the fakes listen on {host}, which other machines can reach: anyone with the "
        "control token can read every request that they received."
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the process. Returns its exit status."""
    settings = settings_of(sys.argv[1:] if arguments is None else arguments)
    if warning := exposure_warning(settings.host):
        print(warning, file=sys.stderr)  # noqa: T201 - for whoever started it

    def greet(urls: Mapping[str, str]) -> None:
        if settings.announce is None:
            text = banner(urls, settings.profiles, settings.seed, settings.control_token)
            print(text, flush=True)  # noqa: T201 - for people

    try:
        return run(settings, on_listening=greet)
    except StartFailed as error:
        print(error, file=sys.stderr)  # noqa: T201 - the reason it ends
        return 1


if __name__ == "__main__":
    sys.exit(main())
