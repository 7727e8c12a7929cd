"""The models that ``/api/ps`` of an Ollama fake without a profile lists: those called lately.

With a profile the scheduler decides what is loaded.
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
        """It is in use, or its keep-alive has not expired."""
        return self.users > 0 or self.expires_ns == FOREVER or self.expires_ns > now_ns


class LoadedModels:
    """The loaded models of one server. Times in nanoseconds of one clock."""

    def __init__(self, *, keep_alive_ns: int, max_loaded: int) -> None:
        self._keep_alive_ns = keep_alive_ns
        self._max_loaded = max_loaded
        self._models: dict[str, _Loaded] = {}

    def enter(self, model: str, keep_alive_ns: int | None, now_ns: int) -> None:
        """A call begins. ``keep_alive_ns``: how long its model stays loaded; None: unchanged."""
        self._forget(now_ns)
        loaded = self._models.get(model)
        if loaded is None:
            self._make_room()
            loaded = self._models[model] = _Loaded(self._keep_alive_ns)
        loaded.users += 1
        if keep_alive_ns is not None:
            loaded.keep_ns = keep_alive_ns

    def leave(self, model: str, now_ns: int) -> None:
        """A call has ended. The keep-alive of an idle model starts."""
        loaded = self._models[model]
        loaded.users -= 1
        if not loaded.users:
            forever = loaded.keep_ns == FOREVER
            loaded.expires_ns = FOREVER if forever else now_ns + loaded.keep_ns
            self._forget(now_ns)

    def resident(self, now_ns: int) -> list[tuple[str, float]]:
        """The models and the seconds until each is unloaded (inf: never), the longest first."""
        self._forget(now_ns)
        found = [(model, self._left_s(loaded, now_ns)) for model, loaded in self._models.items()]
        return sorted(found, key=lambda pair: -pair[1])

    def _left_s(self, loaded: _Loaded, now_ns: int) -> float:
        if loaded.users:
            # Its keep-alive has not started.
            return float("inf") if loaded.keep_ns == FOREVER else loaded.keep_ns / 1e9
        if loaded.expires_ns == FOREVER:
            return float("inf")
        return (loaded.expires_ns - now_ns) / 1e9

    def _forget(self, now_ns: int) -> None:
        for model in [name for name, one in self._models.items() if not one.stays(now_ns)]:
            del self._models[model]

    def _make_room(self) -> None:
        idle = [name for name, loaded in self._models.items() if not loaded.users]
        if len(self._models) >= self._max_loaded and idle:
            # A model in use is not waited for: nothing queues here.
            del self._models[min(idle, key=self._when)]

    def _when(self, name: str) -> float:
        expires_ns = self._models[name].expires_ns
        return float("inf") if expires_ns == FOREVER else expires_ns
