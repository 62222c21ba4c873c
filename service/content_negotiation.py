"""Which of the forms that an answer can have the client's Accept header prefers (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import NotAcceptableError

JSON = "application/json"
JSON_LINES = "application/x-ndjson"
PNG = "image/png"


def preferred(accept: str, offers: Sequence[str]) -> str:
    """The offer of highest quality, the earlier among equals; raises NotAcceptableError if the header allows none.

    What does not parse allows nothing; an empty header allows everything.
    """
    ranges = [_parsed(part) for part in accept.split(",") if part.strip()] or [("*/*", 1.0)]
    best = max(offers, key=lambda offer: _quality(offer, ranges))
    if _quality(best, ranges) == 0:
        raise NotAcceptableError(f"Accept: {accept} allows no form that this answer can have: it is {' or '.join(offers)}")
    return best


def _quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    """That of the most specific range which covers the offer."""
    for covering in (offer, offer.split("/")[0] + "/*", "*/*"):
        if qualities := [quality for range_, quality in ranges if range_ == covering]:
            return max(qualities)
    return 0.0


def _parsed(part: str) -> tuple[str, float]:
    """A media range and its quality, 0 if that is no number from 0 to 1; other parameters say nothing here."""
    range_, *parameters = (piece.strip().lower() for piece in part.split(";"))
    text = next((value for name, _, value in (p.partition("=") for p in parameters) if name.strip() == "q"), "1")
    try:
        quality = float(text)
    except ValueError:
        quality = 0.0
    return range_, quality if 0 <= quality <= 1 else 0.0
