"""How calls are spread over several instances of a provider."""
