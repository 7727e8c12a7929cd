"""``python -P -m fake_providers``: reads the command line and runs the process."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from fake_providers.behaviour import LONGEST_S, MOST_TOKENS, Behaviour
from fake_providers.server import Settings, StartFailed, run


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
    parser.add_argument("--tokens", type=_tokens, default=4, help="numbered pieces of an answer")
    parser.add_argument("--seed", type=int, help="of the identifiers in answers")
    parser.add_argument(
        "--exit-with-stdin", action="store_true", help="stop when standard input ends"
    )
    given = parser.parse_args(arguments)
    return Settings(
        host=given.host,
        openai_port=given.openai_port,
        ollama_port=given.ollama_port,
        control_port=given.control_port,
        ledger=given.ledger,
        run=given.run,
        announce=given.announce,
        default=Behaviour(first_s=given.first, gap_s=given.gap, tokens=given.tokens),
        exit_with_stdin=given.exit_with_stdin,
        seed=given.seed,
    )


def _port(text: str) -> int:
    return _within(int(text), 65535)


def _tokens(text: str) -> int:
    return _within(int(text), MOST_TOKENS)


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


def main(arguments: list[str] | None = None) -> int:
    """Run the process. Returns its exit status."""
    try:
        return run(settings_of(sys.argv[1:] if arguments is None else arguments))
    except StartFailed as error:
        print(error, file=sys.stderr)  # noqa: T201 - the process's own last words
        return 1


if __name__ == "__main__":
    sys.exit(main())
