"""Health check of the container: exits with 0 if the service answers requests, with 1 and the reason if not."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

_PATIENCE_S = 4.0  # the engine may hold the processor while it computes


def main() -> None:
    """Ask /health/ready of the service that runs in the same container."""
    url = f"http://127.0.0.1:{os.environ.get('DUET_PORT', '8000')}/health/ready"
    try:
        # without a proxy, which the environment may name, and which knows another 127.0.0.1
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=_PATIENCE_S).close()
    except urllib.error.HTTPError as error:
        sys.exit(f"{url}: {error.code} {error.read(1000).decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"{url}: {error}")


if __name__ == "__main__":
    main()
