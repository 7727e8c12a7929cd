"""OpenAI's /v1/responses: its requests, its answers whole and as events, and those it stores."""
