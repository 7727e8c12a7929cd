"""Ollama's dialect: chat, generate, embed, tags, its errors, and its /v1."""
