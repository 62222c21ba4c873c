"""Accept headers as RFC 9110 reads them."""

from __future__ import annotations

import pytest

from service.content_negotiation import preferred
from service.errors import NotAcceptableError

OFFERS = ("application/json", "image/png")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        (" Image/PNG ; Q=0.1 ", "image/png"),
        ("image/png, application/json", "application/json"),
        ("image/png, application/json;q=0.9", "image/png"),
        ("image/png;q=0.2, */*;q=0.1", "image/png"),
        ("image/png;q=0.1, */*;q=0.2", "application/json"),
        ("image/*;q=0.3, image/png;q=0, */*;q=0.1", "application/json"),
        ("application/json;q=0, */*", "image/png"),
        ("application/json;q=1.000;version=2", "application/json"),
        ("application/json;q=many, image/png;q=0.001", "image/png"),
        ("application/json;q=nan, image/png;q=0.001", "image/png"),
        (",, image/png ,", "image/png"),
    ],
)
def test_preferred_form(accept: str, chosen: str) -> None:
    assert preferred(accept, OFFERS) == chosen


@pytest.mark.parametrize(
    "accept", ["text/html", "image/jpeg", "*/*;q=0", "nonsense", "application/json;q=-1, image/png;q=2", "*"]
)
def test_nothing_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match=r"application/json or image/png"):
        preferred(accept, OFFERS)
