"""A real `duet-camera` process, and what it has told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 90.0  # seconds, on a busy machine


class CameraProcess:
    """`python -m client.camera SOURCE …`, with a spool and JSON lines in `folder`, where standard error goes as well."""

    def __init__(self, folder: Path, *arguments: object, url: str) -> None:
        self.folder = folder
        self.log = folder / "camera.log"
        command = [sys.executable, "-m", "client.camera", *map(str, arguments), "--url", url, "--quiet"]
        command += ["--spool", str(folder / "spool"), "--jsonl", str(folder / "verdicts.jsonl")]
        with self.log.open("ab") as stderr:
            self.process = subprocess.Popen(command, stderr=stderr)

    def verdicts(self) -> list[dict[str, Any]]:
        """What is in the JSON lines by now."""
        return read_verdicts(self.folder / "verdicts.jsonl")

    def wait_for(self, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """The verdicts, once they are enough; fails after a while, or when the process ends before."""
        deadline = time.monotonic() + PATIENCE
        while True:
            ended = self.process.poll() is not None
            verdicts = self.verdicts()
            if enough(verdicts):
                return verdicts
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"{len(verdicts)} verdicts, which are not enough:\n{self.log.read_text()}")
            time.sleep(0.05)

    def wait_for_log(self, text: str) -> dict[str, Any]:
        """The first log line that holds `text`."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for line in self.log.read_text().splitlines():
                if text in line:
                    return dict(json.loads(line))
            time.sleep(0.05)
        raise RuntimeError(f"{text!r} is not in the log:\n{self.log.read_text()}")

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> CameraProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


def read_verdicts(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a file of verdicts, and of the files put aside before it."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]
