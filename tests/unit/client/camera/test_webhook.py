"""Verdicts posted to an address; what happens when it answers is in the integration tests."""

from __future__ import annotations

import pytest

from client.camera.sinks.webhook import Webhook, WebhookError


def test_an_address_where_nobody_listens_is_named() -> None:
    webhook = Webhook("http://127.0.0.1:9/verdicts")
    with pytest.raises(WebhookError, match=r"http://127\.0\.0\.1:9/verdicts cannot be reached \(ConnectError"):
        webhook.deliver("{}")
    webhook.close()
