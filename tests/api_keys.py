"""The keys of a line and of an administrator, and the setting that lets both in."""

from __future__ import annotations

import hashlib


def digest(key: str) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


KEY = "secret-of-line-4"
ADMIN_KEY = "secret-of-the-administrator"
LINE_ALONE = f"line-4:{digest(KEY)}"
SETTING = f"{LINE_ALONE},boss:{digest(ADMIN_KEY)}:admin"


def bearer(key: str) -> dict[str, str]:
    """Headers that carry a key."""
    return {"Authorization": f"Bearer {key}"}
