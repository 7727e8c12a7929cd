"""The load of the slot checks: every way in which a request can end."""
