"""Where an MQTT broker is found."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Broker:
    """mqtt[s]://[USER@]HOST[:PORT][/PREFIX]"""

    host: str
    port: int
    tls: bool
    user: str | None
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Broker:
        """Read the address; raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.password or parts.query or parts.fragment:
            raise ValueError("give mqtt://[USER@]HOST[:PORT][/PREFIX], or mqtts:// for TLS; the password goes into a file")
        tls = parts.scheme == "mqtts"
        user = unquote(parts.username) if parts.username else None
        return cls(parts.hostname, parts.port or (8883 if tls else 1883), tls, user, parts.path.strip("/") or "duet")
