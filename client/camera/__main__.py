"""The camera client's process: `duet-camera`, or `python -m client.camera`."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import sys
from typing import NoReturn

import structlog

from .options import parse_options
from .pipeline import Pipeline
from .sources import SourceError
from .spool import SpoolError


def main() -> None:
    """Run until the source ends or a signal comes. Exits with 0, with 1 if source or spool fail, with 2 for a wrong option."""
    options = parse_options()
    _configure_logging()
    try:
        pipeline = Pipeline(options)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: pipeline.stop())
        pipeline.run()
    except (SourceError, SpoolError, OSError, sqlite3.Error) as error:
        _fail(str(error))
    except ModuleNotFoundError as error:  # what only this source or sink needs
        _fail(f"{error.name} is not installed: .venv/bin/pip install -e '.[camera]'")
    sys.stdout.flush()
    os._exit(0)  # a camera's driver or a sink may hold a thread for ever; the spool is committed


def _fail(reason: str) -> NoReturn:
    print(f"duet-camera: {reason}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)


def _configure_logging() -> None:
    """Every line goes to standard error: for people on a terminal, as JSON for the journal."""
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    main()
