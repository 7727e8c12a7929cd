"""The secrets that this process knows, and texts without them.

A secret has a name, and a reference ``<NAME>`` that stands for it in targets, plans and records.
``fill`` puts the value back where a process is started; nothing else may. ``hide`` is for every
text that leaves the process, ``sweep`` for files that other processes wrote.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import shlex
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

KEY: Final = "<key>"
"""In place of a secret without a name."""

_PART: Final = 1 << 20
_SHORTEST: Final = 6
_WORDS: Final = re.compile(r"[A-Za-z]?[a-z]*(?:[-_./ ][A-Za-z]?[a-z]+)*|[\d.,:]+")
_WORDS_END: Final = 20
"""The length in letters from which plain words are searched for as well."""
_USERINFO: Final = re.compile(r"(?<=://)[^\s/?#@'\"<>]+@")
_PASSWORD: Final = re.compile(r"://[^\s/:@]*:([^\s/@<{$]+)@")
_NAMED: Final = re.compile(
    r"(?i)(?:^|[-_.])(?:api|auth|access)?(?:key|token|secret|passw(?:or)?d|passphrase|auth"
    r"|authorization|credentials?|cookie|session|signature|private)(?:$|[-_.])"
)
"""Names of headers and variables that hold secrets."""
_OPEN: Final = re.compile(r"(?i)\d*|true|false|yes|no|on|off|none|null|[./~].*|https?://[^@?]*")
"""Values that are none, whatever the name: switches, numbers, files, addresses."""
_PLACEHOLDER: Final = re.compile(r"\{\w+\}|<\w+>")
_TOKEN: Final = re.compile(
    r"(?:\b(?:sk|pk|rk|gsk|hf|xai|gh[opsu]|github_pat|glpat|xox[abp])[-_][\w-]{6,}"
    r"|\b(?:AKIA|AIza|eyJ)[\w-]{10,}|\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{24,})"
)
"""What keys of well-known services look like, and other long mixtures of letters and digits."""
_ASSIGNED: Final = re.compile(
    r"(?i)((?:[\w-]*[_-])?(?:api_?key|key|token|secret|password|passwd))"
    r"[\"']?(?:\s*[:=]\s*|[ \t]+)[\"']?(?!\[)([^\s\"'{}$<>;,]{6,})"
)
"""``master_key: VALUE``, ``--api-key VALUE``, ``TOKEN="VALUE"`` within a longer text. Where only
space is between them both are on one line, and what begins with a bracket is a list or a table."""
_HEADER_LENGTH: Final = 12
_KEY_OPTIONS: Final = ("--key", "--rs-key")
_KEY_GIVEN: Final = re.compile(r"(--(?:rs-)?key[= ])(?!env:)\S+")
_FROM_ENVIRONMENT: Final = "env:"


class Secrets:
    """Named secrets. Threads may share them."""

    def __init__(self, named: Mapping[str, str] | None = None) -> None:
        self._names: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None
        self._spelt: dict[str, str] = {}
        self._lock = threading.Lock()
        for name, value in (named or {}).items():
            self.add(name, value)

    def add(self, name: str, value: str) -> str:
        """Remember a secret; its reference. Another value of the same name gets a number."""
        with self._lock:
            if value not in self._names:
                plain = re.sub(r"\W", "_", name).upper() or "KEY"
                used, number, free = set(self._names.values()), 2, plain
                while free in used:
                    free, number = f"{plain}_{number}", number + 1
                self._names[value] = free
                self._pattern = None
            return f"<{self._names[value]}>"

    def named(self) -> dict[str, str]:
        """Name -> secret."""
        with self._lock:
            return {name: value for value, name in self._names.items()}

    def fill(self, text: str) -> str:
        """``text`` with the secrets in place of their references. For child processes alone."""
        return filled(text, self.named())

    def refer(self, text: str) -> str:
        """``text`` with references in place of the secrets, for ``fill`` to put back.

        A secret that is a word, such as ``ollama``, cannot be told from the word, and stays.
        """
        pattern, spelt = self._search()
        return pattern.sub(lambda found: spelt[found[0]], text) if pattern else text

    def hide(self, text: str) -> str:
        """``text`` for anybody: references in place of the secrets, no password in a URL."""
        return _USERINFO.sub(f"{KEY}@", self.refer(text))

    def references(self, texts: Iterable[str]) -> tuple[str, ...]:
        """The names that ``texts`` refer to."""
        found = {name for text in texts for name in re.findall(r"<(\w+)>", text)}
        return tuple(name for name in self.named() if name in found)

    def sweep(self, folder: Path) -> None:
        """Replace the secrets in every file below ``folder``, which nobody writes any more."""
        _, spelt = self._search()
        replaced = {word.encode(): with_.encode() for word, with_ in spelt.items()}
        for path in _files(folder):
            try:
                if _holds(path, replaced):
                    _rewrite(path, replaced)
            except OSError:  # gone, unreadable or on a full disk: nothing else can be done
                continue

    def _search(self) -> tuple[re.Pattern[str] | None, dict[str, str]]:
        with self._lock:
            if self._pattern is None:
                self._spelt = {
                    spelling: f"<{name}>"
                    for value, name in self._names.items()
                    if is_searchable(value)
                    for spelling in _spellings(value)
                }
                longest_first = sorted(self._spelt, key=len, reverse=True)
                if longest_first:
                    self._pattern = re.compile("|".join(map(re.escape, longest_first)))
            return self._pattern, self._spelt


SECRETS: Final = Secrets()
"""Those of this process: of its command line, its targets and its runs."""


def is_searchable(value: str) -> bool:
    """Whether a secret can be searched for: it is neither short, nor a number, nor a word."""
    if len(value) < _SHORTEST:
        return False
    return len(value) >= _WORDS_END or not _WORDS.fullmatch(value)


def filled(text: str, named: Mapping[str, str]) -> str:
    """``text`` with the values of these references; another ``<NAME>`` stays as it is."""
    return re.sub(r"<(\w+)>", lambda found: named.get(found[1], found[0]), text)


def secret_in_header(name: str, value: str) -> bool:
    """Whether a header's value is a secret; in doubt it is."""
    if _PLACEHOLDER.search(value) or _OPEN.fullmatch(value):
        return False
    media_type = re.fullmatch(r"[\w.+-]+/[\w.+*-]+(?:; ?[\w=.-]+)?", value)
    is_long = len(value) >= _HEADER_LENGTH and not media_type and not _WORDS.fullmatch(value)
    return bool(_NAMED.search(name)) or is_long


def secret_in_variable(name: str, value: str) -> bool:
    """Whether the whole value of an environment variable is a secret."""
    if _PLACEHOLDER.search(value) or _OPEN.fullmatch(value):
        return False
    return bool(_NAMED.search(name) or _TOKEN.fullmatch(value))


def secrets_in_text(text: str) -> Iterator[tuple[str, str]]:
    """(name, secret) of what a configuration or a command line has in it."""
    for name, value in _ASSIGNED.findall(text):
        if is_searchable(value) and not _OPEN.fullmatch(value):
            yield name.lstrip("-"), value
    for found in _TOKEN.finditer(text):
        yield "key", found[0]
    for password in _PASSWORD.findall(text):
        if is_searchable(password):
            yield "password", password


def public_command(command: str) -> str:
    """A command line for anybody: ``--key`` is ``<key>``, and no URL has a password in it."""
    try:
        words = shlex.split(command)
    except ValueError:  # written down as it was, by Locust or an older version
        return SECRETS.hide(_KEY_GIVEN.sub(rf"\1{KEY}", command))
    kept: list[str] = []
    follows = False
    for word in words:
        option, joined, value = word.partition("=")
        is_key = len(option) > 3 and any(known.startswith(option) for known in _KEY_OPTIONS)
        if follows:
            kept.append(_public_key(word))
        elif is_key and joined:
            kept.append(f"{option}={_public_key(value)}")
        else:
            kept.append(shlex.quote(SECRETS.hide(word)))
        follows = is_key and not joined and not follows
    return " ".join(kept)


def _public_key(value: str) -> str:
    return shlex.quote(value) if value.startswith(_FROM_ENVIRONMENT) else KEY


def _spellings(value: str) -> set[str]:
    """A secret as JSON, Python and URLs spell it."""
    as_json = json.dumps(value)[1:-1]
    return {value, as_json, json.dumps(value, ensure_ascii=False)[1:-1], quote(value, safe="")}


def _files(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where, name)
            try:
                told = path.lstat()
            except OSError:
                continue
            if stat.S_ISREG(told.st_mode) and told.st_size:
                yield path


def _holds(path: Path, words: Iterable[bytes]) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return any(text.find(word) >= 0 for word in words)


def _rewrite(path: Path, replaced: Mapping[bytes, bytes]) -> None:
    """A part at a time: a file may be larger than memory."""
    longest_first = sorted(replaced, key=len, reverse=True)
    pattern = re.compile(b"|".join(map(re.escape, longest_first)))
    overlap = len(longest_first[0]) - 1
    fresh = path.with_name(f".{path.name}.new")
    with path.open("rb") as old, fresh.open("wb") as new:
        fresh.chmod(stat.S_IMODE(path.stat().st_mode))
        rest = b""
        while part := old.read(_PART):
            rest = pattern.sub(lambda found: replaced[found[0]], rest + part)
            cut = max(0, len(rest) - overlap)
            new.write(rest[:cut])
            rest = rest[cut:]
        new.write(rest)
    fresh.replace(path)
