"""The operator's page in a real browser, before a real service with the model that ships."""

from __future__ import annotations

import base64
import json
import re
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageFilter
from playwright.sync_api import Browser, Page, expect

from service.archive_format import ArchiveRecord
from service.model_format import score_threshold
from tests.api_keys import KEY, SETTING
from tests.service_process import ServiceProcess, running_service
from training.archive_export import export_archive

from .conftest import PATIENCE_MS, ROOT, SAMPLES, Scratched

GOOD, DEFECT = SAMPLES / "good_gear.png", SAMPLES / "bad_washer_scratch.png"
MARGIN = 16  # of the stage, in CSS pixels, as viewer.js has it

expect.set_options(timeout=PATIENCE_MS)


def post(service: ServiceProcess, picture: Path, request_id: str | None = None, **labels: str) -> dict[str, Any]:
    """Score a picture as a camera does."""
    headers = {f"X-Duet-{name.title()}": value.encode() for name, value in labels.items()}
    if request_id is not None:
        headers["X-Request-ID"] = request_id.encode()
    answer: dict[str, Any] = service.client.post("/score", content=picture.read_bytes(), headers=headers).json()
    return answer


def drop(page: Page, picture: Path) -> None:
    """Drop a file from the desktop onto the page."""
    data = base64.b64encode(picture.read_bytes()).decode()
    transfer = page.evaluate_handle(
        """([data, name]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, { type: 'image/png' }));
            return transfer;
        }""",
        [data, picture.name],
    )
    page.dispatch_event("#view", "drop", {"dataTransfer": transfer})


def open_picture(page: Page, picture: Path, verdict: str) -> None:
    page.set_input_files("#files", picture)
    expect(page.locator("#facts")).to_contain_text(picture.name)
    expect(page.locator("#verdict")).to_have_attribute("data-verdict", verdict)


def stage(page: Page, opacity: int) -> npt.NDArray[np.float64]:
    """The pixels [side, side, 3] that the stage shows of a square picture with its heat of this opacity."""
    page.locator("#opacity").fill(str(opacity))
    url = page.evaluate("document.getElementById('canvas').toDataURL()")
    canvas = Image.open(BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
    side = min(canvas.size) - 2 * MARGIN
    left, top = (canvas.width - side) // 2, (canvas.height - side) // 2
    return np.asarray(canvas.crop((left, top, left + side, top + side)), dtype=np.float64)


def test_dropped_picture_shows_scores_and_heat_where_the_scratch_is(
    page: Page, service: ServiceProcess, scratched: Scratched
) -> None:
    drop(page, scratched.picture)
    expect(page.locator("#verdict-word")).to_have_text("Defect")
    answer = post(service, scratched.picture)
    for branch, value in answer["scores"].items():
        assert float(page.locator(f"[data-branch={branch}] output").inner_text()) == pytest.approx(value, abs=0.006)
        width = page.locator(f"[data-branch={branch}] i").evaluate("bar => parseFloat(bar.style.width)")
        assert width == pytest.approx(100 * value, abs=0.01)
    expect(page.locator("#threshold-mark")).to_contain_text(f"{answer['threshold']:.2f}")

    heat = np.abs(stage(page, 100) - stage(page, 0)).sum(axis=2)
    mask = Image.open(scratched.mask).resize(heat.shape[::-1])
    scratch = np.asarray(mask) > 127
    elsewhere = np.asarray(mask.filter(ImageFilter.MaxFilter(101))) < 128
    assert heat[scratch].mean() > 8 * heat[elsewhere].mean()
    assert heat[scratch].mean() > 40


def test_a_click_tells_the_local_value(page: Page, service: ServiceProcess) -> None:
    open_picture(page, DEFECT, "bad")
    expect(page.locator("#opacity")).to_be_enabled()  # once the heat is there, which comes after the verdict
    answer = service.client.post("/score", content=DEFECT.read_bytes()).json()
    values = np.asarray(Image.open(BytesIO(base64.b64decode(answer["heatmap"]["data"])))) / 255
    box = page.locator("#canvas").bounding_box()
    assert box
    side = min(box["width"], box["height"]) - 2 * MARGIN
    for x, y in ((0.7, 0.68), (0.1, 0.1)):
        position = {"x": (box["width"] - side) / 2 + x * side, "y": (box["height"] - side) / 2 + y * side}
        page.click("#canvas", position=position)  # type: ignore[arg-type]
        shown = float(page.locator("#probe").inner_text())
        near = values[int(y * 256) - 2 : int(y * 256) + 3, int(x * 256) - 2 : int(x * 256) + 3]
        assert near.min() - 0.01 <= shown <= near.max() + 0.01


def test_wall_follows_the_line(page: Page, service: ServiceProcess) -> None:
    post(service, GOOD, line="Linie süd", part="17")
    expect(page.locator("#verdict")).to_have_attribute("data-verdict", "good")
    expect(page.locator("#facts")).to_contain_text("Linie süd")
    post(service, DEFECT, line="north", station="end", part="18")
    expect(page.locator("#verdict-word")).to_have_text("Defect")
    expect(page.locator("#wall li").first).to_have_attribute("data-verdict", "bad")
    tile = page.locator("#wall li").first
    expect(tile).to_contain_text("18")
    # Its picture is decoded and drawn after it has come.
    middle = "document.querySelector('#wall canvas').getContext('2d').getImageData(80, 60, 1, 1)"
    page.wait_for_function(f"() => {middle}.data[3] === 255")

    before = page.locator("#wall li").count()
    page.select_option("#filter-line", "Linie süd")
    expect(page.locator("#wall li")).to_have_count(1)
    page.select_option("#filter-line", "")
    page.select_option("#filter-verdict", "bad")
    expect(page.locator("#wall [data-verdict=good]")).to_have_count(0)
    page.select_option("#filter-verdict", "")
    expect(page.locator("#wall li")).to_have_count(before)

    page.click("#pause")
    post(service, GOOD, line="north", part="19")
    expect(page.locator("#pause")).to_have_text("Resume (1 new)")
    expect(page.locator("#wall li")).to_have_count(before)
    expect(page.locator("#facts")).to_contain_text("18")
    page.click("#pause")
    expect(page.locator("#wall li")).to_have_count(before + 1)
    expect(page.locator("#facts")).to_contain_text("19")


def test_what_is_on_the_stage_is_marked_on_the_wall(page: Page, service: ServiceProcess) -> None:
    """Also where a defect has kept the stage for a while, and a good part takes it then."""
    post(service, DEFECT, part="30")
    expect(page.locator("#facts")).to_contain_text("30")
    post(service, GOOD, part="31")
    expect(page.locator("#wall li").first).to_contain_text("31")
    expect(page.locator("#facts")).to_contain_text("31", timeout=30_000)
    expect(page.locator("#wall [aria-current=true]")).to_contain_text("31")


def test_another_threshold_is_tried_on_the_last_results(page: Page, service: ServiceProcess) -> None:
    for picture in sorted(SAMPLES.glob("*.png")):
        post(service, picture)
    counted = page.locator("#counts")
    expect(counted).to_contain_text("with a defect")
    history = [json.loads(line) for line in _history(service)]
    expect(counted).to_contain_text(f"of {len(history)} ")
    for tried in (0.05, 0.95):
        least = score_threshold(tried)
        changed = [event for event in history if (event["raw"]["joint"] >= least) != event["anomalous"]]
        page.locator("#what-if").fill(str(tried))
        expected = f"{len(changed)} of the last {len(history)} would change" if changed else "none of the last"
        expect(page.locator("#what-if-flips")).to_contain_text(expected)
    page.click("#what-if-reset")
    expect(page.locator("#what-if-flips")).to_have_text("Drag the line to try another threshold")


def _history(service: ServiceProcess) -> list[str]:
    """The JSON of each of the last results."""
    found = []
    with service.client.stream("GET", "/events") as answer:
        last = service.client.post("/score", content=GOOD.read_bytes(), headers={"X-Duet-Part": "last"}).json()["id"]
        for line in answer.iter_lines():
            if line.startswith('data: {"number"'):
                found.append(line.removeprefix("data: "))
                if last in line:
                    return found
    raise RuntimeError("the events ended")


def test_feedback_becomes_a_data_set(page: Page, service: ServiceProcess, archive: Path, tmp_path: Path) -> None:
    missed = SAMPLES / "bad_gear_missing_tooth.png"  # the model lets it pass
    open_picture(page, missed, "good")
    page.click("#feedback [data-label=bad]")
    expect(page.locator("#feedback-note")).to_have_text("Kept for the next training.")
    open_picture(page, DEFECT, "bad")
    page.keyboard.press("g")
    expect(page.locator("#feedback [data-label=good]")).to_have_attribute("aria-pressed", "true")
    records = [ArchiveRecord.model_validate_json(path.read_text()) for path in archive.glob("*/*.json")]
    labelled = {record.part: record.feedback.label for record in records if record.feedback}
    assert labelled == {missed.name: "bad", DEFECT.name: "good"}
    export_archive(archive, tmp_path / "set")
    assert [path.read_bytes() for path in (tmp_path / "set/bad").iterdir()] == [missed.read_bytes()]
    assert [path.read_bytes() for path in (tmp_path / "set/good").iterdir()] == [DEFECT.read_bytes()]
    assert service.metric("duet_feedback_total", label="bad", verdict="good") == 1


def test_a_part_that_is_scored_again_under_its_id_is_a_new_result(page: Page, service: ServiceProcess) -> None:
    """It was dirty, and has been cleaned: its tile does not stay a defect's, nor keep what was said of that."""
    post(service, DEFECT, request_id="part-40", part="cleaned")
    expect(page.locator("#facts")).to_contain_text("cleaned")
    page.click("#wall li:first-child button")
    page.keyboard.press("b")
    expect(page.locator("#wall li:first-child")).to_have_attribute("data-feedback", "bad")
    post(service, GOOD, request_id="part-41", part="between")
    post(service, GOOD, request_id="part-40", part="cleaned")
    tile = page.locator("#wall li").first
    expect(tile).to_contain_text("cleaned")
    expect(tile).to_have_attribute("data-verdict", "good")
    expect(tile).to_have_attribute("data-feedback", "")
    expect(page.locator("#wall li", has_text="cleaned")).to_have_count(1)
    expect(page.locator("#verdict")).to_have_attribute("data-verdict", "good")


def test_camera(page: Page) -> None:
    page.click("#camera")
    expect(page.locator("#invitation")).to_be_hidden()
    page.click("#shoot")
    expect(page.locator("#verdict-word")).to_have_text("Defect")  # Chromium's test picture is no part
    expect(page.locator("#video")).to_be_hidden()


def test_pasted_picture(page: Page) -> None:
    data = base64.b64encode(GOOD.read_bytes()).decode()
    page.evaluate(
        """(data) => {
            const clipboardData = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            clipboardData.items.add(new File([bytes], 'p.png', { type: 'image/png' }));
            document.dispatchEvent(new ClipboardEvent('paste', { clipboardData }));
        }""",
        data,
    )
    expect(page.locator("#verdict-word")).to_have_text("Good")


def test_format_that_no_browser_shows(page: Page, tmp_path: Path) -> None:
    Image.open(DEFECT).save(tmp_path / "part.tif")
    open_picture(page, tmp_path / "part.tif", "bad")
    assert stage(page, 0).std() > 20


def test_what_is_no_picture_has_no_verdict(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_bytes(b"no picture")
    page.set_input_files("#files", tmp_path / "notes.png")
    expect(page.locator("#verdict")).to_have_attribute("data-verdict", "error")
    expect(page.locator("#verdict-reason")).to_contain_text("send JPEG, PNG, BMP, TIFF or WebP")
    expect(page.locator("#feedback")).to_be_hidden()


def test_keyboard(page: Page) -> None:
    open_picture(page, GOOD, "good")
    open_picture(page, DEFECT, "bad")
    page.locator("body").press("ArrowRight")
    expect(page.locator("#facts")).to_contain_text(GOOD.name)
    page.locator("body").press("ArrowLeft")
    expect(page.locator("#facts")).to_contain_text(DEFECT.name)
    page.keyboard.press("h")
    assert page.locator("#opacity").input_value() == "0"
    page.keyboard.press("h")
    assert page.locator("#opacity").input_value() == "60"
    page.keyboard.press("f")
    expect(page.locator("#follow")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press(" ")
    expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("?")
    expect(page.locator("#help-dialog")).to_be_visible()


@pytest.mark.parametrize(
    ("language", "word", "button", "value"),
    [("de", "Fehler", "Bilder öffnen", "0,88"), ("zh", "缺陷", "打开图片", "0.88")],
)
def test_languages(page: Page, language: str, word: str, button: str, value: str) -> None:
    open_picture(page, DEFECT, "bad")
    page.select_option("#language", language)
    expect(page.locator("#verdict-word")).to_have_text(word)
    expect(page.locator("[data-branch=local] output")).to_have_text(value)
    page.reload()
    expect(page.locator("#open")).to_have_text(button)
    assert page.locator("html").get_attribute("lang") == language


def test_every_text_is_there_in_every_language() -> None:
    source = (ROOT / "service/static/texts.js").read_text()
    blocks = re.findall(r"^  (\w\w): \{\n(.*?)^  \},", source, re.DOTALL | re.MULTILINE)
    texts = {language: dict(re.findall(r"(\w+): '([^']*)'", block)) for language, block in blocks}
    assert set(texts) == {"en", "de", "zh"}
    for language, found in texts.items():
        assert found.keys() == texts["en"].keys(), language
        for name, content in found.items():
            assert set(re.findall(r"\{\w+\}", content)) == set(re.findall(r"\{\w+\}", texts["en"][name])), (language, name)


@pytest.mark.parametrize("state", ["empty", "defect", "wall", "error", "keyboard", "german", "chinese", "tablet"])
def test_no_serious_accessibility_fault(page: Page, service: ServiceProcess, tmp_path: Path, state: str) -> None:
    if state == "tablet":
        page.set_viewport_size({"width": 768, "height": 1024})
    if state == "error":
        (tmp_path / "notes.png").write_bytes(b"no picture")
        page.set_input_files("#files", tmp_path / "notes.png")
        expect(page.locator("#verdict")).to_have_attribute("data-verdict", "error")
    elif state == "wall":
        post(service, GOOD, line="4")
        post(service, DEFECT, line="5")
        expect(page.locator("#verdict-word")).to_have_text("Defect")
        page.click("#pause")
    elif state != "empty":
        open_picture(page, DEFECT, "bad")
        page.locator("#what-if").fill("0.3")
    if state == "keyboard":
        page.click("#help-button")
    if state in ("german", "chinese"):
        page.select_option("#language", state.replace("german", "de").replace("chinese", "zh"))
    found = Axe().run(page).response["violations"]
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    assert serious == [], [(fault["id"], [node["html"][:120] for node in fault["nodes"]]) for fault in serious]


def test_key_is_asked_for_and_forgotten_with_the_tab(browser: Browser, tmp_path: Path) -> None:
    with (
        running_service(ROOT / "models", tmp_path / "service.log", api_keys=SETTING) as service,
        browser.new_context(locale="en-GB") as context,
    ):
        page = context.new_page()
        page.goto(str(service.client.base_url))
        expect(page.locator("#key-dialog")).to_be_visible()
        expect(page.locator("#connection")).to_contain_text("Key needed")
        expect(page.locator("#key-wrong")).to_be_hidden()
        page.fill("#key", "mistyped")
        page.keyboard.press("Enter")
        expect(page.locator("#key-wrong")).to_be_visible()
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        expect(page.locator("#connection")).to_contain_text("Live")
        open_picture(page, GOOD, "good")
        page.reload()
        expect(page.locator("#connection")).to_contain_text("Live")
        stranger = context.new_page()
        stranger.goto(str(service.client.base_url))
        expect(stranger.locator("#key-dialog")).to_be_visible()
        assert KEY not in service.log.read_text()


def test_a_connection_that_is_silent_for_too_long_is_not_live(browser: Browser, service: ServiceProcess) -> None:
    """As one is whose switch has lost its power: nobody ends it. Here the page's clock runs ahead of what the service says."""
    with browser.new_context(locale="en-GB") as context:
        page = context.new_page()
        page.clock.install()
        page.goto(str(service.client.base_url))
        expect(page.locator("#connection")).to_contain_text("Live")
        page.clock.pause_at(time.time() + 3600)
        expect(page.locator("#connection")).to_contain_text("No connection")
        page.clock.run_for(3_000)
        expect(page.locator("#connection")).to_contain_text("Live")


def test_the_page_comes_back_when_the_service_does(browser: Browser, tmp_path: Path) -> None:
    with browser.new_context(locale="en-GB") as context:
        page = context.new_page()
        with running_service(ROOT / "models", tmp_path / "first.log") as service:
            page.goto(str(service.client.base_url))
            expect(page.locator("#connection")).to_contain_text("Live")
            service.terminate()
            service.exit_code()
            expect(page.locator("#connection")).to_contain_text("No connection")
        with running_service(ROOT / "models", tmp_path / "second.log", port=service.port) as again:
            expect(page.locator("#connection")).to_contain_text("Live")
            post(again, GOOD)
            expect(page.locator("#verdict-word")).to_have_text("Good")
