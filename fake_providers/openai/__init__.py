"""OpenAI's dialect: chat, completions, embeddings, responses, the model list, its errors."""
