"""`routerspec init`: its words, and what it says. No logic."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from routerspec.commands import verify
from routerspec.init.begin import begin, next_command
from routerspec.init.toml_text import NOT_FOUND


def add_options(words: argparse.ArgumentParser) -> None:
    """The options of ``routerspec init``."""
    words.add_argument("--url", required=True, help="where it runs: http://127.0.0.1:8080")
    words.add_argument("--key", default="", help="the client's key for it; it is not written down")
    words.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="default: its name, with .toml"
    )
    words.add_argument(
        "--ports",
        default="",
        metavar="OPENAI,OLLAMA,CONTROL",
        help="ports of the fakes: 8001,11434,8002",
    )
    words.add_argument(
        "--runs", type=Path, default=Path(".routerspec/runs"), help="where smoke's run goes"
    )
    words.add_argument(
        "--allow-remote", action="store_true", help="another machine, which is yours to load"
    )
    words.set_defaults(command=_init)


def _init(options: argparse.Namespace) -> int:
    chosen = verify.ports(options)
    began = begin(
        options.url,
        key=options.key,
        out=options.out,
        ports=chosen,
        allow_remote=options.allow_remote,
        tell=lambda text: print(text, file=sys.stderr),
    )
    open_ends = began.path.read_text(encoding="utf-8").count(f"\n{NOT_FOUND}")
    names = ", ".join(route.name for route in began.found.routes)
    print(f"written: {began.path} (routes {names}; {open_ends} things not found out)")
    if began.can_smoke:
        status = verify.smoke_found(options, began)
        if not status:
            then = next_command(began, chosen, key_given=bool(options.key), command="verify")
            print(f"Say what it promises in {began.path}, then:\n  {then}")
        return status
    command = next_command(began, chosen, key_given=bool(options.key))
    if began.found.fakes_behind:
        held = ", ".join(map(str, began.taken))
        print(f"Its providers are the fakes; end what has their port now ({held}), then")
    else:
        openai, ollama, _ = chosen
        print(
            f"Next: make http://127.0.0.1:{openai} its OpenAI provider and "
            f"http://127.0.0.1:{ollama} its Ollama,"
        )
        if began.taken:
            print(f"or others with --ports, for {', '.join(map(str, began.taken))} is taken; then")
        else:
            print("where smoke has its fakes listen; then")
    print(f"  {command}")
    return 0
