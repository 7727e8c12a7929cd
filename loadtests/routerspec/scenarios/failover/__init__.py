"""The load of the failover checks: instances that fail while others are well."""
