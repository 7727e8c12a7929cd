"""The yardstick of ``bench_fakes``: how a mock of a chat endpoint is usually written.

FastAPI with a pydantic model on either side, served by uvicorn with uvloop and httptools. It
records nothing and knows no streams.
"""

from __future__ import annotations

import sys
import time
import uuid

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Message(BaseModel):
    role: str
    content: str


class ChatRequest(BaseModel):
    model: str
    messages: list[Message]
    stream: bool = False
    temperature: float | None = None
    max_tokens: int | None = None


class Choice(BaseModel):
    index: int
    message: Message
    finish_reason: str


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatAnswer(BaseModel):
    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


app = FastAPI()


@app.post("/v1/chat/completions")
async def chat(request: ChatRequest) -> ChatAnswer:
    message = Message(role="assistant", content="Hello, this is the answer, in so many words.")
    return ChatAnswer(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        object="chat.completion",
        created=int(time.time()),
        model=request.model,
        choices=[Choice(index=0, message=message, finish_reason="stop")],
        usage=Usage(prompt_tokens=9, completion_tokens=9, total_tokens=18),
    )


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
