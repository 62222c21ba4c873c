"""Pictures' bytes out of a request: the raw body, or the fields of a form. Limited while they are read, never put on disk."""

from __future__ import annotations

import reprlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from typing import cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header
from starlette.requests import Request

from .errors import (
    BadParameterError,
    MalformedBodyError,
    TooManyBytesError,
    TooManyImagesError,
    UnsupportedContentTypeError,
)

FIELD = "image"
_FORM = "multipart/form-data"


@dataclass(frozen=True)
class Upload:
    """One encoded picture, and the name that its form gives it."""

    data: bytes
    filename: str | None = None


async def read_image(request: Request, max_bytes: int) -> bytes:
    """The encoded picture of a request that holds one.

    Raises UnsupportedContentTypeError, TooManyBytesError, MalformedBodyError, ClientDisconnect, and BadParameterError for a
    form with other than one field `image`.
    """
    content_type = _content_type(request)
    if content_type == _FORM:
        try:
            (upload,) = await _read_form(request, max_bytes, max_images=1)
        except TooManyImagesError as error:
            raise BadParameterError(f"the form must have one field '{FIELD}': POST /score/batch takes many") from error
        return upload.data
    if content_type == "application/octet-stream" or content_type.startswith("image/"):
        return await read_body(request, max_bytes)
    raise UnsupportedContentTypeError(
        f"Content-Type '{content_type}' is not accepted: send image/* (as -H 'Content-Type: image/png'), "
        f"application/octet-stream or {_FORM}"
    )


async def read_images(request: Request, max_bytes: int, max_images: int) -> list[Upload]:
    """The encoded pictures of a form, at least one; `max_bytes` limits all of them together.

    Raises as `read_image` does, and TooManyImagesError.
    """
    content_type = _content_type(request)
    if content_type != _FORM:
        raise UnsupportedContentTypeError(f"Content-Type '{content_type}' is not accepted: send {_FORM}")
    return await _read_form(request, max_bytes, max_images)


async def read_body(request: Request, max_bytes: int) -> bytes:
    """All of a request's body; raises TooManyBytesError as soon as it is too long, and ClientDisconnect."""
    return b"".join([chunk async for chunk in _limited(request, max_bytes)])


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "application/octet-stream").split(";")[0].strip().lower()


async def _limited(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """The body as it arrives."""
    refusal = TooManyBytesError(f"the body exceeds {max_bytes} bytes (DUET_MAX_BYTES): send less, or compressed pictures")
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise refusal
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise refusal
        yield chunk


async def _read_form(request: Request, max_bytes: int, max_images: int) -> list[Upload]:
    boundary = parse_options_header(request.headers.get("content-type"))[1].get(b"boundary")
    if not boundary:
        raise MalformedBodyError(f"Content-Type: {_FORM} names no boundary")
    form = _Form(max_images)
    try:
        parser = FormParser(
            _FORM,
            form.add_field,
            form.add_file,
            form.end,
            boundary=boundary,
            config={"MAX_MEMORY_FILE_SIZE": max_bytes},
        )
        async for chunk in _limited(request, max_bytes):
            parser.write(chunk)
    except FormParserError as error:
        raise MalformedBodyError(f"not a {_FORM} body: {error}") from error
    if not form.complete:
        raise MalformedBodyError(f"the {_FORM} body ends before its last boundary")
    if not form.uploads:
        raise BadParameterError(f"the form has no field '{FIELD}': send the picture in one")
    return form.uploads


class _Form:
    """Collects the pictures of a form. A picture may come with a filename or without, which the parser tells apart."""

    def __init__(self, max_images: int) -> None:
        self.uploads: list[Upload] = []
        self.complete = False
        self._max_images = max_images

    def add_field(self, field: Field) -> None:
        self._add(field.field_name, Upload(field.value or b""))

    def add_file(self, file: File) -> None:
        content = cast(BytesIO, file.file_object)  # a form is never larger than what the parser keeps in memory
        name = file.file_name
        self._add(file.field_name, Upload(content.getvalue(), None if name is None else _text(name)))

    def end(self) -> None:
        self.complete = True

    def _add(self, name: bytes | None, upload: Upload) -> None:
        if name != FIELD.encode():
            raise BadParameterError(f"name the form's fields '{FIELD}', not {reprlib.repr(_text(name or b''))}")
        if len(self.uploads) == self._max_images:
            raise TooManyImagesError(f"the form has more than {self._max_images} pictures: send them in several requests")
        self.uploads.append(upload)


def _text(header: bytes) -> str:
    """UTF-8, as RFC 7578 has it; what is not comes back with replacement characters."""
    return header.decode(errors="replace")
