"""Who may do what is for administrators alone, whatever keys are set."""

from __future__ import annotations

import httpx
import pytest
from fastapi import Depends

from service.access import require_admin, require_key
from service.app import create_app
from service.settings import Settings
from tests.api_keys import ADMIN_KEY, KEY, LINE_ALONE, SETTING, bearer


@pytest.mark.parametrize(
    ("setting", "headers", "status"),
    [
        (SETTING, bearer(ADMIN_KEY), 200),
        (SETTING, {"X-API-Key": ADMIN_KEY}, 200),
        (SETTING, bearer(KEY), 403),
        (SETTING, {}, 401),
        (LINE_ALONE, bearer(KEY), 403),
        (LINE_ALONE, bearer(ADMIN_KEY), 401),
        (None, {}, 403),
        (None, bearer(ADMIN_KEY), 403),
    ],
)
async def test_administrators_alone(
    monkeypatch: pytest.MonkeyPatch, setting: str | None, headers: dict[str, str], status: int
) -> None:
    if setting:
        monkeypatch.setenv("DUET_API_KEYS", setting)
    app = create_app(Settings())
    keyed = [Depends(require_key)] if setting else []

    @app.post("/change", dependencies=[*keyed, Depends(require_admin)])
    async def change() -> None: ...

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://duet") as client:
        answer = await client.post("/change", headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["type"] == "urn:duet:problem:forbidden"
        assert "DUET_API_KEYS" in answer.json()["detail"]
