"""Runs into reports/: what is refused, what is scrubbed, the pages."""
