"""The dashboards: their JSON, and each of their queries against a Prometheus that scrapes a service under load."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pynvml
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry, start_http_server

from deploy.grafana.generate import FOLDER, files
from service.gpu import GpuCollector
from service.model_format import MODEL_FILE, Distribution
from tests.pictures import encode, failing, grey, noise, reddish, spotted
from tests.prometheus_process import INSTALLED, PrometheusProcess, running_prometheus
from tests.service_process import ServiceProcess, running_service
from tests.tiny_model import BOTH, build_model, metadata, save

DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
PANELS = [(name, panel) for name, board in DASHBOARDS.items() for panel in board["panels"] if panel["type"] != "row"]
QUERIES = [(name, panel["title"], target) for name, panel in PANELS for target in panel["targets"]]
PATIENCE = 120.0  # seconds until every query has data: drift wants 200 pictures


def keep_busy(service: ServiceProcess, stop: threading.Event) -> None:
    """Post good and bad parts, what is no picture, and what breaks a batch, until `stop`."""
    bodies = [grey(), grey(), noise(1), spotted(), reddish(), grey(), grey()] * 5
    posts = [*(encode(pixels) for pixels in bodies), b"no picture", encode(failing())]
    with httpx.Client(base_url=service.client.base_url, timeout=60) as client:
        for body in cycle(posts):
            if stop.is_set():
                return
            client.post("/score", content=body)


@contextmanager
def exporting_gpu() -> Iterator[int]:
    """The port of the GPU's metrics, with NVIDIA's library in front of a device that is not there."""
    answers = {
        "nvmlInit": None,
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": 0,
        "nvmlDeviceGetName": "NVIDIA L4",
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=2**30, total=24 * 2**30),
        "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=40),
    }
    registry = CollectorRegistry()
    with pytest.MonkeyPatch.context() as patch:
        for function, answer in answers.items():
            patch.setattr(pynvml, function, lambda *_, answer=answer: answer)
        registry.register(GpuCollector())
        server, thread = start_http_server(0, "127.0.0.1", registry)
        yield server.server_port
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusProcess]:
    """A Prometheus that has watched a busy service until there is drift to tell of."""
    if not INSTALLED:
        pytest.skip("Prometheus is not installed (Debian package prometheus)")
    folder = tmp_path_factory.mktemp("watched")
    plain = metadata()
    reference = Distribution(edges=(0.1, 0.4), counts=(40, 40, 40))
    calibration = plain.calibration.model_copy(update={"reference": dict.fromkeys(("local", "semantic", "joint"), reference)})
    described = plain.model_copy(update={"calibration": calibration})
    save(build_model(BOTH, described.input_shape), described.model_dump_json(), folder / "models" / "tiny" / "1" / MODEL_FILE)
    with (
        running_service(folder / "models", folder / "service.log") as service,
        exporting_gpu() as gpu_port,
        running_prometheus(folder, service.port, gpu_port) as watching,
    ):
        stop = threading.Event()
        clients = [threading.Thread(target=keep_busy, args=(service, stop)) for _ in range(3)]
        for client in clients:
            client.start()
        try:
            deadline = time.monotonic() + PATIENCE
            while not (watching.query("duet_drift_psi") and watching.query("rate(duet_requests_total[10s]) > 0")):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"no drift is told:\n{service.client.get('/metrics').text}")
                time.sleep(0.5)
            time.sleep(10)  # so that rates are known for a while
            yield watching
        finally:
            stop.set()
            for client in clients:
                client.join()


def with_variables(expression: str) -> str:
    """A query as Grafana asks it, every model chosen, of a minute that is scraped each second."""
    return expression.replace("$model", "tiny").replace("$__rate_interval", "10s").replace("$__range", "60s")


def test_no_query_makes_one_line_of_two_models_scores() -> None:
    """Their probabilities have nothing in common; a histogram of all of them, coloured by count, is the one exception."""
    scores = [target["expr"] for _, _, target in QUERIES if re.search("histogram_quantile.*duet_score", target["expr"])]
    assert scores
    assert all("sum by (le, model, version)" in expression for expression in scores)


@pytest.mark.parametrize(("board", "title", "target"), QUERIES, ids=[f"{b}: {t} {q['refId']}" for b, t, q in QUERIES])
def test_query_has_data(prometheus: PrometheusProcess, board: str, title: str, target: dict[str, Any]) -> None:
    expression = with_variables(target["expr"])
    assert "$" not in expression
    series = prometheus.query(expression) if target["instant"] else prometheus.query_range(expression, 30)
    numbers = [float(value) for one in series for _, value in one.get("values", [one.get("value")])]
    assert [number for number in numbers if number == number], f"{board}, {title}: no data for {expression}"  # NaN is none
    legend = re.findall(r"{{(\w+)}}", target.get("legendFormat", ""))
    assert all(label in one["metric"] for one in series for label in legend), f"a label of {legend} is missing"


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_json_is_what_the_sources_make(path: Path) -> None:
    assert path.read_text() == files()[path], "run `make generated`"


def lost(given: Any, read: Any, place: str = "") -> Iterator[str]:
    """The places of what was given and not read."""
    if isinstance(given, dict):
        for name, value in given.items():
            yield from lost(value, read.get(name), f"{place}/{name}")
    elif isinstance(given, list) and len(given) == len(read):
        for index, value in enumerate(given):
            yield from lost(value, read[index], f"{place}/{index}")
    elif given != read:
        yield place


@pytest.mark.parametrize("board", DASHBOARDS)
def test_json_is_of_grafanas_schema(board: str) -> None:
    """The SDK is made from Grafana's schema: what that does not have is gone once it has read a dashboard."""
    register_default_plugins()

    def through_the_sdk(given: dict[str, Any]) -> Any:
        return json.loads(JSONEncoder().encode(Dashboard.from_json(given)))

    given = DASHBOARDS[board]
    assert list(lost(given, through_the_sdk(given))) == []
    misspelt = json.loads(json.dumps(given).replace('"description"', '"descripton"'))
    assert list(lost(misspelt, through_the_sdk(misspelt)))


@pytest.mark.parametrize("panel", [panel for _, panel in PANELS], ids=[f"{board}: {panel['title']}" for board, panel in PANELS])
def test_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    shown = panel["fieldConfig"]["defaults"]
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert shown["unit"]
    assert shown["thresholds"]["steps"][0]["value"] is None
    assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
    if panel["type"] == "timeseries":
        assert panel["options"]["legend"]["showLegend"]
        assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize(("board", "title", "target"), QUERIES, ids=[f"{b}: {t} {q['refId']}" for b, t, q in QUERIES])
def test_rates_follow_the_scrape_interval(board: str, title: str, target: dict[str, Any]) -> None:
    """A window that Grafana makes of resolution and scrape interval; the whole time shown is one for sums."""
    windows = re.findall(r"\[(.*?)\]", target["expr"])
    taken = re.findall(r"\b(rate|irate|increase|delta|changes|max_over_time)\(", target["expr"])
    assert len(windows) == len(taken), f"{board}, {title}"
    assert set(windows) <= {"$__rate_interval", "$__range"}
    assert target["instant"] or "$__range" not in windows


def test_panels_do_not_overlap() -> None:
    for board in DASHBOARDS.values():
        cells = [
            (place["x"] + right, place["y"] + down)
            for place in (panel["gridPos"] for panel in board["panels"])
            for right in range(place["w"])
            for down in range(place["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(numbers) == len(set(numbers))
