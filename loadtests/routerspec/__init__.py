"""routerspec proves from outside whether an LLM router keeps its promises under load."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("routerspec")
__all__ = ["__version__"]
