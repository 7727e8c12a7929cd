"""Two verdicts: what got worse."""
