"""The load of the cache checks: requests that are repeated, exactly or not quite."""
