"""The shipped model's service, which keeps pictures, and its page in a headless browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from service.images import decode_image
from tests.service_process import ServiceProcess, running_service
from training.data.parts.dataset import write_parts

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT / "models/demo/samples"
CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_MS = 60_000
# Root runs no sandbox; the camera is Chromium's own test picture.
_ARGUMENTS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@dataclass(frozen=True)
class Scratched:
    """A rendered part with a scratch, and the scratch's mask."""

    picture: Path
    mask: Path


@pytest.fixture(scope="session")
def scratched(tmp_path_factory: pytest.TempPathFactory) -> Scratched:
    """A washer that no training has seen."""
    folder = tmp_path_factory.mktemp("parts") / "parts"
    write_parts(folder, 0, 12, 112, seed=4711, kinds=["washer"])
    masks = sorted((folder / "washer/ground_truth/scratch").glob("*_mask.png"))
    mask = max(masks, key=lambda path: int(decode_image(path.read_bytes(), 10**6).sum()))
    return Scratched(folder / "washer/test/scratch" / mask.name.replace("_mask", ""), mask)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the service keeps pictures in."""
    return tmp_path_factory.mktemp("archive")


@pytest.fixture(scope="module")
def service(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    log = tmp_path_factory.mktemp("log") / "service.log"
    with running_service(ROOT / "models", log, archive=archive) as service:
        yield service


@pytest.fixture(scope="module")  # no longer: while Playwright lives, its event loop keeps asynchronous tests from running
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing (Debian package chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, service: ServiceProcess) -> Iterator[Page]:
    """The page, connected. It must ask nobody but the service, and nothing in it may go wrong unnoticed."""
    with browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB") as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        faults: list[str] = []
        asked: set[str] = set()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
        page.on("request", lambda request: asked.add(request.url))
        page.goto(str(service.client.base_url))
        page.wait_for_selector("#connection[data-state=live]")
        yield page
        assert all(url.startswith((str(service.client.base_url), "blob:", "data:")) for url in asked)
        assert [fault for fault in faults if "status of 4" not in fault] == []
