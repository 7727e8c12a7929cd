"""The yardstick of ``fakes``: how a mock of a chat endpoint is usually written.

    python -m tests.benchmarks.plain dict|model PORT

FastAPI with a pydantic model of the request, served by uvicorn with uvloop and httptools. The
answer is a dict as most people write it, or a second pydantic model, which FastAPI writes faster.
It records nothing and knows no streams.
"""

from __future__ import annotations

import sys
import time
import uuid

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

TEXT = "Hello, this is the answer, in so many words."


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


async def chat(request: ChatRequest) -> ChatAnswer:
    message = Message(role="assistant", content=TEXT)
    return ChatAnswer(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        object="chat.completion",
        created=int(time.time()),
        model=request.model,
        choices=[Choice(index=0, message=message, finish_reason="stop")],
        usage=Usage(prompt_tokens=9, completion_tokens=9, total_tokens=18),
    )


async def chat_as_dict(request: ChatRequest):  # type: ignore[no-untyped-def]
    message = {"role": "assistant", "content": TEXT}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
    }


if __name__ == "__main__":
    app = FastAPI()
    app.post("/v1/chat/completions")({"dict": chat_as_dict, "model": chat}[sys.argv[1]])
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
