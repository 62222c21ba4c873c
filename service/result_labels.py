"""Where a picture comes from, if its client says so: headers that go into events and the archive, and change no score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header

_MAX_LENGTH = 64


@dataclass(frozen=True)
class ResultLabels:
    """Line, station and part; None for what the client does not say."""

    line: str | None = None
    station: str | None = None
    part: str | None = None


async def _labels(
    line: Annotated[str | None, Header(alias="X-Duet-Line", description="name of the line, UTF-8, 64 characters")] = None,
    station: Annotated[str | None, Header(alias="X-Duet-Station", description="name of the station, like the line's")] = None,
    part: Annotated[str | None, Header(alias="X-Duet-Part", description="number of the part, like the line's")] = None,
) -> ResultLabels:
    return ResultLabels(_clean(line), _clean(station), _clean(part))


Labels = Annotated[ResultLabels, Depends(_labels)]


def _clean(value: str | None) -> str | None:
    """UTF-8 that came as Latin-1, as all headers do, without what does not print. No part is refused for its label."""
    text = (value or "").encode("latin-1", errors="replace").decode(errors="replace")[:_MAX_LENGTH]
    return "".join(character if character.isprintable() else "�" for character in text).strip() or None
