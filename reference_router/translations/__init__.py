"""Translations, a file for each pair of dialects: the client's first, the provider's second.

Each tells a request in the provider's words, and a whole or streamed answer in the client's.
"""
