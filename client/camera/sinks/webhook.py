"""Verdicts posted to an address."""

from __future__ import annotations

import httpx

_SECONDS = 10.0


class WebhookError(Exception):
    """No answer, or another than 2xx."""


class Webhook:
    """Posts each verdict as JSON; an answer 2xx means that it is taken, and every other one that it is sent again."""

    name = "webhook"

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = httpx.Client(timeout=_SECONDS)

    def deliver(self, body: str) -> None:
        """Post the verdict; raises WebhookError, which names the address."""
        try:
            answer = self._http.post(self._url, content=body.encode(), headers={"Content-Type": "application/json"})
        except httpx.HTTPError as error:
            raise WebhookError(f"{self._url} cannot be reached ({type(error).__name__}: {error})") from error
        if not answer.is_success:
            raise WebhookError(f"{self._url} answered {answer.status_code} {answer.reason_phrase}")

    def close(self) -> None:
        """Close the connection."""
        self._http.close()
