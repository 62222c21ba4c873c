"""The picture's bytes out of a request: raw body or one multipart field, limited while it is read."""

from __future__ import annotations

import asyncio
import reprlib
from collections.abc import AsyncGenerator

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from .errors import BadParameterError, MalformedBodyError, TooManyBytesError, UnsupportedContentTypeError

FIELD = "image"
_PIECE = 256 * 1024  # bytes


async def read_image(request: Request, max_bytes: int) -> bytes:
    """The encoded picture of a scoring request.

    Raises UnsupportedContentTypeError, TooManyBytesError, MalformedBodyError, ClientDisconnect, and BadParameterError for a
    form with other than one field `image`.
    """
    content_type = request.headers.get("content-type", "application/octet-stream").split(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _image_field(request, await read_body(request, max_bytes))
    if content_type == "application/octet-stream" or content_type.startswith("image/"):
        return await read_body(request, max_bytes)
    raise UnsupportedContentTypeError(
        f"Content-Type '{content_type}' is not accepted: send image/*, application/octet-stream or multipart/form-data"
    )


async def read_body(request: Request, max_bytes: int) -> bytes:
    """All of a request's body; raises TooManyBytesError as soon as it is too long, and ClientDisconnect."""
    refusal = TooManyBytesError(f"the body exceeds {max_bytes} bytes (DUET_MAX_BYTES): send a smaller or compressed picture")
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise refusal
    chunks, length = [], 0
    async for chunk in request.stream():
        chunks.append(chunk)
        length += len(chunk)
        if length > max_bytes:
            raise refusal
    return b"".join(chunks)


async def _image_field(request: Request, body: bytes) -> bytes:
    async def stream() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), _PIECE):
            yield body[start : start + _PIECE]
            await asyncio.sleep(0)  # the other requests go on while a large form is taken apart

    _, parameters = parse_options_header(request.headers["content-type"])
    if parameters.get(b"charset", b"utf-8").lower() != b"utf-8":  # some of Python's codecs take minutes, others raise
        raise MalformedBodyError("a multipart/form-data body has no charset but utf-8: leave the parameter out")
    parser = MultiPartParser(request.headers, stream())
    parser.spool_max_size = len(body) + 1  # already in memory and limited: never to disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise MalformedBodyError(f"not a multipart/form-data body: {error.message}") from error
    try:
        return await _only_image(form)
    finally:
        await form.close()


async def _only_image(form: FormData) -> bytes:
    fields = form.multi_items()
    if not fields:
        raise MalformedBodyError("the multipart/form-data body ends before its first field does")
    names = [name for name, _ in fields]
    if names != [FIELD]:
        raise BadParameterError(f"the form must have one field '{FIELD}', not {reprlib.repr(names)}")
    part = fields[0][1]
    if not isinstance(part, UploadFile):
        raise BadParameterError(f"the form's field '{FIELD}' must be a file: give it a filename")
    return await part.read()
