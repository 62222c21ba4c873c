"""The handler that one writes first: everything in a thread of the pool, one picture at a time, no batches."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from benchmarks.serve.work import port, work

app = FastAPI()
own_work = work()


@app.post("/score")
async def score(request: Request) -> Response:
    """Score one picture."""
    return Response(await run_in_threadpool(_score, await request.body()), media_type="application/json")


def _score(picture: bytes) -> bytes:
    (row,) = own_work.infer([own_work.decode(picture)])
    return own_work.answer(row)


if __name__ == "__main__":
    uvicorn.run(app, port=port(), loop="uvloop", http="httptools", log_level="warning")
