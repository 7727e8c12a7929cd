"""The control API: hold, release, inject, list what is held, read the metrics."""
