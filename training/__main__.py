"""The command line as a process: `duet-train`, or `python -m training`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exits with 1 and the remedy where the training package's libraries are missing."""
    try:
        from .cli import main as run
    except ModuleNotFoundError as error:
        sys.exit(f"duet-train: {error.name} is not installed: run 'make training'")
    run()


if __name__ == "__main__":
    main()
