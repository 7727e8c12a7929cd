"""The load of the error checks: clients' own errors, and busy providers."""
