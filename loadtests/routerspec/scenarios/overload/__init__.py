"""The load of the overload checks: more clients than the router takes."""
