"""GET /: the operator's page, and the files that it is made of."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

STATIC = Path(__file__).parent.parent / "static"
_ALWAYS_ASK = {"Cache-Control": "no-cache"}  # an old script must not meet a new service

router = APIRouter()


class PageFiles(StaticFiles):
    """The page's files, which a browser keeps but asks about each time."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """As StaticFiles answers."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers.update(_ALWAYS_ASK)
        return response


@router.get("/", include_in_schema=False, response_class=FileResponse)
async def page() -> FileResponse:
    """The page itself, open to everybody: what it asks for wants a key where there are any."""
    return FileResponse(STATIC / "index.html", headers=_ALWAYS_ASK)
