"""Anthropic's dialect: messages, token counts, the model list, its errors."""
