"""Processes that an earlier run left are named, with the way to stop them."""

from __future__ import annotations

import pytest

from routerspec.commands import leftovers


def test_each_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(leftovers, "_GOING_S", 0)
    monkeypatch.setattr(leftovers, "left_behind", lambda: {17: "router \x1b[2J --port 1", 5: "nap"})
    leftovers.name_leftovers()
    message = capsys.readouterr().err
    assert "  5  nap\n  17  router  --port 1\n" in message
    assert "To stop them: kill -9 5 17" in message


def test_what_is_just_being_ended_is_not_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = iter([{5: "nap"}, {5: "nap"}, {}])
    monkeypatch.setattr(leftovers, "left_behind", lambda: next(scans))
    leftovers.name_leftovers()
    assert capsys.readouterr().err == ""
