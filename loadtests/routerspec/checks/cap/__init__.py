"""The cap: never more open calls than promised, on any route, in any moment."""
