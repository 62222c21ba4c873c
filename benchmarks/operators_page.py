"""The operator's page while a line tells many results a second: does it keep up, and does it stay usable?

    python -m benchmarks.operators_page --rate 30

A real server with a tiny model, so that computing is not what limits it; posts of the demo model's samples at a steady rate;
the page in a headless Chromium (Debian package chromium), all on one machine. Prints how late the last result was on the page,
frames a second, tasks that kept the page from answering for more than 50 ms, and the page's memory.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.table import Table

from tests.service_process import ServiceProcess, running_service
from tests.tiny_model import write_tiny_model

_CHROMIUM = "/usr/bin/chromium"
_PICTURES = Path("models/demo/samples")
_CLIENTS = 16
_PATIENCE_MS = 30_000
_WATCH = """() => {
  window.busy = [];
  const keep = (list) => list.getEntries().forEach((task) => busy.push(task.duration));
  new PerformanceObserver(keep).observe({ entryTypes: ['longtask'] });
  window.frames_drawn = 0;
  const draw = () => { frames_drawn++; requestAnimationFrame(draw); };
  draw();
}"""


def main(
    rate: Annotated[float, typer.Option(min=0.1, help="Results a second.")] = 30,
    seconds: Annotated[float, typer.Option(min=1)] = 30,
) -> None:
    """Measure, and print a table."""
    pictures = [file.read_bytes() for file in sorted(_PICTURES.glob("*.png"))]
    with tempfile.TemporaryDirectory(prefix="duet-page-") as scratch:
        write_tiny_model(Path(scratch) / "models")
        with (
            running_service(Path(scratch) / "models", Path(scratch) / "service.log") as service,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1920, "height": 1080}, locale="en-GB")
            page.goto(str(service.client.base_url))
            page.wait_for_function("document.querySelector('#connection').textContent.includes('Live')", timeout=_PATIENCE_MS)
            page.evaluate(_WATCH)
            posted = _stream(service, pictures, rate, seconds)
            late = _until_shown(page, posted - 1)
            busy: list[float] = page.evaluate("busy")
            rows = {
                "results": f"{posted} in {seconds:g} s",
                "the last was on the page after": f"{1000 * late:.0f} ms",
                "frames drawn": f"{page.evaluate('frames_drawn') / seconds:.0f} a second",
                "tasks of more than 50 ms": f"{len(busy)}, the longest {max(busy, default=0):.0f} ms",
                "the page's memory": f"{page.evaluate('performance.memory.usedJSHeapSize') / 2**20:.0f} MiB",
                "listeners let go": f"{service.metric('duet_event_listeners_dropped_total'):g}",
            }
            browser.close()
    table = Table("", "measured")
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)


def _stream(service: ServiceProcess, pictures: list[bytes], rate: float, seconds: float) -> int:
    """Post at a steady rate; the number of pictures, all of which were scored."""

    def post(number: int) -> None:
        headers = {"X-Duet-Part": f"part {number}"}
        service.client.post("/score", content=pictures[number % len(pictures)], headers=headers).raise_for_status()

    answers: list[Future[None]] = []
    with ThreadPoolExecutor(_CLIENTS) as pool:
        started = time.monotonic()
        while (now := time.monotonic() - started) < seconds:
            if len(answers) <= rate * now:
                answers.append(pool.submit(post, len(answers)))
            time.sleep(max(0.0, len(answers) / rate - now))
    for answer in answers:
        answer.result()
    return len(answers)


def _until_shown(page: Page, number: int) -> float:
    """Seconds until this part's result is on the wall, from now. Not only as the newest: answers overtake each other."""
    started = time.monotonic()
    shown = f"document.querySelector('#wall').textContent.includes('part {number}')"
    page.wait_for_function(shown, timeout=_PATIENCE_MS)
    return time.monotonic() - started


if __name__ == "__main__":
    typer.run(main)
