"""Every metric: as documented, as promtool wants it, and with exemplars."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from service.drift import LEAST_IMAGES
from service.model_format import Distribution
from tests.pictures import SIZE, encode, grey, spotted
from tests.service_process import ONE_ENGINE, ServiceProcess, running_service
from tests.tiny_model import build_model, metadata, save, write_tiny_model
from tests.traffic import connection_with_request, occupy

DOCUMENT = Path(__file__).parents[3] / "docs/metrics.md"
PROMTOOL = shutil.which("promtool")
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing (Debian package prometheus)")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    type: str
    labels: frozenset[str]
    query: str


def documented() -> dict[str, Row]:
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    assert all(len(row) == 6 and row[3] and row[4] for row in cells)
    found = [
        Row(name.strip("`"), kind, frozenset(filter(None, labels.split(", "))), query.strip("`"))
        for name, kind, labels, _, _, query in cells
    ]
    assert len({row.name for row in found}) == len(found)
    return {row.name: row for row in found}


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service to which everything has happened that is counted."""
    folder = tmp_path_factory.mktemp("scraped")
    half = Distribution(edges=(0.5,), counts=(50, 50))
    calibration = metadata().calibration.model_copy(update={"reference": {"local": half, "semantic": half, "joint": half}})
    described = metadata().model_copy(update={"calibration": calibration})
    save(build_model(), described.model_dump_json(), folder / "models/tiny/1/model.onnx")
    write_tiny_model(folder / "models", "broken").write_bytes(b"no model")
    with (
        running_service(
            folder / "models", folder / "log", default_model="tiny", archive=folder / "archive", **ONE_ENGINE
        ) as service,
        ThreadPoolExecutor() as pool,
    ):
        picture = encode(grey())
        answers = pool.map(lambda _: service.client.post("/score", content=picture).status_code, range(LEAST_IMAGES))
        assert set(answers) == {200}
        assert service.client.post("/score", content=encode(spotted()), headers={"X-Request-ID": "the-one"}).status_code == 200
        assert service.client.post("/feedback", json={"id": "the-one", "label": "bad"}).status_code == 200
        assert service.client.post("/score", content=b"nonsense").status_code == 400
        busy = occupy(service, pool)
        connection_with_request(service, picture).close()
        service.wait_for_metric(1, "duet_cancelled_total")
        assert busy.result().status_code == 200
        yield service


def test_the_document_tells_of_each_metric_what_is_so(scraped: ServiceProcess) -> None:
    rows, seen = documented(), set()
    for family in text_string_to_metric_families(scraped.client.get("/metrics").text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert name in rows, "not in docs/metrics.md"
        assert family.type == rows[name].type, name
        labels = {frozenset(sample.labels.keys() - {"le"}) for sample in family.samples}
        assert labels == {rows[name].labels} or (not labels and name.startswith("duet_gpu_")), name
        seen.add(name)
    assert seen == rows.keys(), "documented, but not there"


@needs_promtool
def test_promtool_finds_nothing_to_complain_of(scraped: ServiceProcess) -> None:
    text = scraped.client.get("/metrics").text
    checked = subprocess.run([str(PROMTOOL), "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@needs_promtool
def test_promtool_understands_every_example(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    queries = [row.query for row in documented().values()]
    lines = [f"  - {{record: 'example:{number}', expr: '{query}'}}\n" for number, query in enumerate(queries)]
    rules.write_text("groups:\n- name: examples\n  rules:\n" + "".join(lines))
    checked = subprocess.run([str(PROMTOOL), "check", "rules", str(rules)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert f"{len(queries)} rules found" in checked.stdout


def test_the_latency_histogram_has_the_request_as_exemplar(scraped: ServiceProcess) -> None:
    scraped.client.post("/score", content=encode(grey()), headers={"X-Request-ID": 'my "one"\\'.replace(" ", "-")})
    answer = scraped.client.get("/metrics", headers=OPENMETRICS)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in parse_openmetrics(answer.text)}
    exemplars = [s.exemplar for s in families["duet_request_duration_seconds"].samples if s.exemplar]
    assert 'my-"one"\\' in {exemplar.labels["request_id"] for exemplar in exemplars}
    assert all(exemplar.labels.keys() == {"request_id"} and exemplar.value > 0 for exemplar in exemplars)


def test_a_request_id_too_long_for_an_exemplar_is_left_out(scraped: ServiceProcess) -> None:
    before = scraped.metric("duet_request_duration_seconds_count")
    longest = "x" * 128
    answer = scraped.client.post("/score", content=encode(grey()), headers={"X-Request-ID": longest})
    assert answer.headers["X-Request-ID"] == longest
    assert scraped.metric("duet_request_duration_seconds_count") == before + 1
    assert longest not in scraped.client.get("/metrics", headers=OPENMETRICS).text


def test_a_slow_sender_is_no_delay_of_ours(scraped: ServiceProcess) -> None:
    def in_two_parts() -> Iterator[bytes]:
        yield encode(grey())[:40]
        time.sleep(1.5)
        yield encode(grey())[40:]

    before = scraped.metric("duet_request_duration_seconds_sum")
    assert scraped.client.post("/score", content=in_two_parts()).status_code == 200
    assert 0 < scraped.metric("duet_request_duration_seconds_sum") - before < 1.4


def test_only_requests_of_one_picture_have_a_latency_to_compare(scraped: ServiceProcess) -> None:
    """Of many it is as long as they are, and would wake somebody up for nothing (DuetLatencyBurnsFast)."""
    picture = encode(grey())
    for count in (1, 3):
        before = scraped.metric("duet_request_duration_seconds_count")
        files = [("image", picture)] * count
        assert scraped.client.post("/score/batch", files=files).status_code == 200
        data = [128] * (count * SIZE * SIZE * 3)
        tensor = {"name": "image", "shape": [count, SIZE, SIZE, 3], "datatype": "UINT8", "data": data}
        assert scraped.client.post("/v2/models/tiny/infer", json={"inputs": [tensor]}).status_code == 200
        assert scraped.metric("duet_request_duration_seconds_count") - before == (2 if count == 1 else 0)


def test_readiness_and_fallback_are_told(scraped: ServiceProcess) -> None:
    assert scraped.metric("duet_ready") == 1
    assert scraped.metric("duet_model_fallback", model="tiny") == 1  # the default prefers CUDA
    assert scraped.metric("duet_model_load_failures_total", model="broken", version="1") == 1
