"""How a form is taken apart; what comes out of it is tested on a real process."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from service.uploads import read_image


async def test_large_form_lets_other_requests_go_on() -> None:
    picture = bytes(8 * 2**20)
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + picture + b"\r\n--x--\r\n"

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    request = Request({"type": "http", "method": "POST", "path": "/score", "query_string": b"", "headers": headers}, receive)
    reading = asyncio.create_task(read_image(request, len(body)))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert reading.result() == picture
    assert turns > 30  # one for each piece
