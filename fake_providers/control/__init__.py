"""The control API: hold, release, script behaviour, take a snapshot, read metrics and ledger."""
