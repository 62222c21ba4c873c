"""The server process: `duet-serve`, or `python -m service`."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import socket
import sys
from types import FrameType

import structlog
import uvicorn

from .app import create_app
from .http_protocol import HttpProtocol
from .memory import give_back_freed_memory
from .runtime import Runtime
from .security_headers import ON_EVERY_ANSWER
from .settings import PREFIX, Settings, SettingsError, load_settings
from .structured_logging import configure_logging
from .tracing_settings import open_tracing

log = structlog.stdlib.get_logger(__name__)

_GRACE_SECONDS = 5  # beyond the deadline that every request has
_IDLE_SECONDS = 75  # that a connection may rest between requests: more than load balancers' 60, and than most lines' cycle


class Server(uvicorn.Server):
    """uvicorn, except that readiness turns false with the first signal, and that a graceful stop exits with 0."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime) -> None:
        super().__init__(config)
        self._runtime = runtime

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """The first signal stops gracefully, the second at once."""
        self._runtime.draining = True
        self.force_exit = self.should_exit
        self.should_exit = True


def _ensure_address(settings: Settings) -> None:
    """Raise SettingsError where nobody could listen, before a model is loaded for nothing."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        where = f"DUET_HOST={settings.host}, DUET_PORT={settings.port}"
        raise SettingsError(f"{where}: {error.strerror}: stop what listens there, or set another") from error


def main() -> None:
    """Serve until a signal. Exits with 0, with 1 if the model cannot be loaded, with 2 for a wrong setting."""
    names = "\n".join(f"  {PREFIX + name.upper():<28}{field.description}" for name, field in Settings.model_fields.items())
    argparse.ArgumentParser(
        prog="duet-serve",
        description="Score pictures over HTTP. Settings come from the environment:",
        epilog=names,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        settings = load_settings()
        _ensure_address(settings)
        tracing = open_tracing()
        configure_logging(settings)
        give_back_freed_memory()
        app = create_app(settings, tracing)
    except SettingsError as error:
        print(f"duet-serve: {error}", file=sys.stderr)
        sys.exit(2)
    runtime: Runtime = app.state.runtime
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=HttpProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        headers=ON_EVERY_ANSWER,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=settings.request_timeout_ms // 1000 + _GRACE_SECONDS,
    )
    gc.collect()
    gc.freeze()  # what has been imported stays: the collector would look through it again and again, and requests wait
    Server(config, runtime).run()
    code = 1 if runtime.failed else 0
    if runtime.left_behind:  # Python would wait for pictures, and take an engine apart while it computes
        log.warning("leaving threads behind that still work", threads=runtime.left_behind)
        logging.shutdown()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
