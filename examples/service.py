# SPDX-License-Identifier: Apache-2.0
"""Faces over HTTP. First `uvicorn service:app`, then `curl --data-binary @one.jpg localhost:8000/faces`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Body, FastAPI, HTTPException, Request

import facepipe


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with facepipe.load(embedder="mobilefacenet.ms1m") as app.state.faces:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/faces")
def faces(request: Request, photograph: Annotated[bytes, Body(media_type="image/*")]) -> list[dict[str, list[float]]]:
    """The faces of the photograph that is sent. No `async def`: the threads of the server's pool share one object."""
    found = request.app.state.faces.embed_all(photograph)
    if isinstance(found, facepipe.Unread):
        raise HTTPException(422, f"the photograph {found.reason}")
    return [{"box": one.face.box.tolist(), "embedding": one.embedding.tolist()} for one in found.faces]
