"""The models that ``/api/ps`` shows of an Ollama without a profile: those called lately. Pure.

Decides how long a model stays, and which one goes when there are too many. Refuses to know what
loading costs and who waits for whom: with a profile all of this is the engine's.
"""

from __future__ import annotations

from dataclasses import dataclass

from fake_providers.pacing.jobs import FOREVER


@dataclass(slots=True)
class _Loaded:
    keep_ns: int
    users: int = 0
    expires_ns: int = FOREVER

    def stays(self, now_ns: int) -> bool:
        """It is in use, or its time is not over."""
        return self.users > 0 or self.expires_ns == FOREVER or self.expires_ns > now_ns


class Residence:
    """The loaded models of one server. Times in nanoseconds of one clock."""

    def __init__(self, *, keep_alive_ns: int, most_loaded: int) -> None:
        self._keep_alive_ns = keep_alive_ns
        self._most_loaded = most_loaded
        self._models: dict[str, _Loaded] = {}

    def enter(self, model: str, keep_alive_ns: int | None, now_ns: int) -> None:
        """A call begins. ``keep_alive_ns``: how long its model is to stay; None: as it was."""
        self._forget(now_ns)
        loaded = self._models.get(model)
        if loaded is None:
            self._make_room()
            loaded = self._models[model] = _Loaded(self._keep_alive_ns)
        loaded.users += 1
        if keep_alive_ns is not None:
            loaded.keep_ns = keep_alive_ns

    def leave(self, model: str, now_ns: int) -> None:
        """It is over. The time of an idle model begins to run."""
        loaded = self._models[model]
        loaded.users -= 1
        if not loaded.users:
            forever = loaded.keep_ns == FOREVER
            loaded.expires_ns = FOREVER if forever else now_ns + loaded.keep_ns
            self._forget(now_ns)

    def resident(self, now_ns: int) -> list[tuple[str, float]]:
        """The models, and in how many seconds each is unloaded (inf: never), the last one first."""
        self._forget(now_ns)
        found = [(model, self._left_s(loaded, now_ns)) for model, loaded in self._models.items()]
        return sorted(found, key=lambda pair: -pair[1])

    def _left_s(self, loaded: _Loaded, now_ns: int) -> float:
        if loaded.users:
            # Its time does not run yet.
            return float("inf") if loaded.keep_ns == FOREVER else loaded.keep_ns / 1e9
        if loaded.expires_ns == FOREVER:
            return float("inf")
        return (loaded.expires_ns - now_ns) / 1e9

    def _forget(self, now_ns: int) -> None:
        for model in [name for name, one in self._models.items() if not one.stays(now_ns)]:
            del self._models[model]

    def _make_room(self) -> None:
        idle = [name for name, loaded in self._models.items() if not loaded.users]
        if len(self._models) >= self._most_loaded and idle:
            # Nobody waits for a model in use: nothing queues here.
            del self._models[min(idle, key=self._when)]

    def _when(self, name: str) -> float:
        expires_ns = self._models[name].expires_ns
        return float("inf") if expires_ns == FOREVER else expires_ns
