"""`routerspec init`: its options and its output. No logic."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from routerspec.commands import report_options, verify
from routerspec.init.begin import begin, next_command
from routerspec.init.toml_text import NOT_FOUND
from routerspec.processes.ports import FakePorts
from routerspec.targets.sealing import FROM_ENVIRONMENT, key_from


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec init``."""
    parser.add_argument(
        "--url", required=True, help="base URL of the router: http://127.0.0.1:8080"
    )
    report_options.add_key_options(
        parser, "API key that clients send to it; not written to the file"
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        help="output file (default: the router's name, with .toml)",
    )
    parser.add_argument(
        "--ports",
        default="",
        metavar="OPENAI,OLLAMA,CONTROL[,ANTHROPIC]",
        help="ports of the fakes (default 8001,11434,8002,8003)",
    )
    parser.add_argument(
        "--anthropic",
        action="store_true",
        help="start the fake Anthropic server, too: the router has such a provider",
    )
    parser.add_argument(
        "--runs",
        type=Path,
        metavar="DIR",
        default=Path(".routerspec/runs"),
        help="directory for the smoke run",
    )
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="allow a non-local --url (only machines you may load-test)",
    )
    parser.set_defaults(command=_init)


def _init(options: argparse.Namespace) -> int:
    chosen = verify.ports(options)
    draft = begin(
        options.url,
        key=key_from(options.key, options.key_file),
        out=options.out,
        ports=chosen,
        anthropic=options.anthropic,
        allow_remote=options.allow_remote,
        tell=lambda text: print(text, file=sys.stderr),
    )
    todo = draft.path.read_text(encoding="utf-8").count(f"\n{NOT_FOUND}")
    names = ", ".join(route.name for route in draft.found.routes)
    print(f"written: {draft.path} (routes {names}; {todo} items to fill in, marked `{NOT_FOUND}`)")
    if draft.can_smoke:
        status = verify.smoke_found(options, draft)
        if not status:
            then = next_command(draft, chosen, key=_key_words(options), command="verify")
            print(f"Add the router's promises to {draft.path}, then run:\n  {then}")
        return status
    command = next_command(draft, chosen, key=_key_words(options))
    if draft.found.fakes_behind:
        held = ", ".join(map(str, draft.taken))
        print(f"The router already points at the fakes. Stop what listens on {held}, then run:")
    else:
        print(
            f"Next: point the router at the fakes, which will listen on\n"
            f"  {_fakes(chosen, anthropic=options.anthropic)}."
        )
        if draft.taken:
            ports = ", ".join(map(str, draft.taken))
            print(f"In use already: {ports}. Choose other ports with --ports.")
        print("Then run:")
    print(f"  {command}")
    return 0


def _fakes(ports: FakePorts, *, anthropic: bool) -> str:
    """The URLs of the fakes, with the APIs that they speak."""
    here = "http://127.0.0.1"
    openai, ollama = f"{here}:{ports.openai} (OpenAI)", f"{here}:{ports.ollama} (Ollama)"
    third = f"\n  and {here}:{ports.anthropic} (Anthropic)" if anthropic else ""
    return f"{openai}, {ollama}{third}" if anthropic else f"{openai} and {ollama}"


def _key_words(options: argparse.Namespace) -> list[str]:
    """How the key is given to the next command; never the key itself."""
    if options.key_file is not None:
        return ["--key-file", str(options.key_file)]
    if options.key.startswith(FROM_ENVIRONMENT):
        return ["--key", options.key]
    return ["--key", "KEY"] if options.key else []
