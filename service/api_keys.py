"""API keys: what the setting says, and which key a request carries. Only digests of keys are ever held."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_ENTRY = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,63}):(?P<digest>[0-9A-Fa-f]{64})(?P<admin>:admin)?")


@dataclass(frozen=True)
class ApiKey:
    """One client's key: its name, for the log, and its SHA-256. An `admin` may also load and unload models."""

    name: str
    digest: bytes = field(repr=False)
    admin: bool


def parse_api_keys(text: str) -> tuple[ApiKey, ...]:
    """The keys of `NAME:SHA256` or `NAME:SHA256:admin`, separated by commas.

    Raises ValueError for a malformed or repeated one, which it calls by its place: its text may hold a digest anywhere.
    """
    keys = tuple(_parse(place, entry.strip()) for place, entry in enumerate(text.split(","), start=1))
    if len({key.name for key in keys}) < len(keys):
        raise ValueError("two keys have the same name: give each client its own")
    if len({key.digest for key in keys}) < len(keys):
        raise ValueError("two names have the same key: give each client its own")
    return keys


def find_key(keys: Iterable[ApiKey], given: str) -> ApiKey | None:
    """The key whose digest is that of the given header value, in a time that does not depend on which it is."""
    digest = hashlib.sha256(given.encode("latin-1")).digest()  # latin-1 gives back the bytes that were sent
    matching = [key for key in keys if hmac.compare_digest(key.digest, digest)]
    return matching[0] if matching else None


def _parse(place: int, entry: str) -> ApiKey:
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise ValueError(
            f"key {place} is not NAME:SHA256 or NAME:SHA256:admin: make the SHA-256 with printf %s KEY | sha256sum, "
            "and unset the variable to serve without keys"
        )
    return ApiKey(found["name"], bytes.fromhex(found["digest"]), found["admin"] is not None)
