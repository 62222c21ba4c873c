"""Traces of a real service, as a real collector gets them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.pictures import encode, failing, grey, spotted
from tests.service_process import ONE_ENGINE, ServiceProcess, running_service
from tests.tiny_model import slow_pixel
from tests.trace_collector import TraceCollector, attributes, running_collector
from tests.traffic import occupy

STAGES = {"decode", "queue", "inference", "heatmap"}
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def collector() -> Iterator[TraceCollector]:
    with running_collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(models: Path, collector: TraceCollector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service that sends its traces to the collector, soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", "factory.line=4")
        with running_service(models, tmp_path_factory.mktemp("traced") / "service.log", **ONE_ENGINE) as service:
            yield service


def named(request_id: str, collector: TraceCollector) -> Span:
    """The span of this request."""
    (span,) = collector.wait_for(lambda span: attributes(span).get("duet.request.id") == request_id)
    return span


def children(span: Span, collector: TraceCollector) -> list[Span]:
    return [child for child in collector.spans() if child.parent_span_id == span.span_id]


def test_a_request_is_a_child_of_its_client_and_has_a_span_for_each_stage(
    traced: ServiceProcess, collector: TraceCollector
) -> None:
    headers = {"X-Request-ID": "child", "traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "line=4"}
    picture = spotted()
    picture[0, 0] = slow_pixel(40)  # computed for far longer than a busy machine stops whoever reads two clocks
    answer = traced.client.post("/score", content=encode(picture), headers=headers)
    span = named("child", collector)
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.trace_state) == (TRACE, PARENT, "line=4")
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{span.span_id.hex()}-01"
    assert (span.name, span.kind, span.status.code) == ("POST /score", Span.SPAN_KIND_SERVER, Status.STATUS_CODE_UNSET)
    described = attributes(span)
    assert (described["http.request.method"], described["http.route"], described["url.path"]) == ("POST", "/score", "/score")
    assert (described["http.response.status_code"], described["duet.outcome"], described["duet.anomalous"]) == (
        200,
        "scored",
        1,
    )
    assert (described["duet.model"], described["duet.version"]) == ("tiny", "3")
    collector.wait_for(lambda other: other.parent_span_id == span.span_id, len(STAGES))
    stages = {child.name: child for child in children(span, collector)}
    assert stages.keys() == STAGES
    for name, stage in stages.items():
        assert stage.trace_id == span.trace_id
        assert span.start_time_unix_nano - 5 * 10**7 <= stage.start_time_unix_nano <= stage.end_time_unix_nano, name
        assert stage.end_time_unix_nano <= span.end_time_unix_nano + 5 * 10**7, name
        milliseconds = (stage.end_time_unix_nano - stage.start_time_unix_nano) / 1e6
        assert milliseconds == pytest.approx(answer.json()["timing_ms"][name], abs=50), name
    starts = [stages[name].start_time_unix_nano for name in ("decode", "queue", "inference", "heatmap")]
    assert starts == sorted(starts)


def test_a_request_without_context_begins_a_trace_and_its_log_line_names_it(
    traced: ServiceProcess, collector: TraceCollector
) -> None:
    traced.client.get("/models", headers={"X-Request-ID": "root"})
    span = named("root", collector)
    assert (span.name, span.parent_span_id, children(span, collector)) == ("GET /models", b"", [])
    lines = [json.loads(line) for line in traced.wait_for_log('"root"') if '"root"' in line]
    assert (lines[-1]["trace_id"], lines[-1]["span_id"]) == (span.trace_id.hex(), span.span_id.hex())


def test_a_batch_links_to_its_requests_and_they_to_it(traced: ServiceProcess, collector: TraceCollector) -> None:
    with ThreadPoolExecutor(8) as pool:
        busy = occupy(traced, pool)
        together = [
            pool.submit(traced.client.post, "/score", content=encode(grey()), headers={"X-Request-ID": f"together-{n}"})
            for n in range(3)
        ]
        traced.wait_for_metric(3, "duet_queue_depth")
        assert [answer.result().status_code for answer in (busy, *together)] == [200] * 4
    requests = [named(f"together-{number}", collector) for number in range(3)]
    wanted = {(span.trace_id, span.span_id) for span in requests}
    batches = collector.wait_for(
        lambda span: span.name == "batch" and bool(wanted & {(link.trace_id, link.span_id) for link in span.links})
    )
    linked = [{(link.trace_id, link.span_id) for link in batch.links} for batch in batches]
    assert set().union(*linked) == wanted
    assert sum(attributes(batch)["duet.batch.images"] for batch in batches) == 3
    assert all(batch.parent_span_id == b"" for batch in batches)
    for request in requests:
        collector.wait_for(lambda span, id_=request.span_id: span.parent_span_id == id_, len(STAGES))
        (inference,) = [child for child in children(request, collector) if child.name == "inference"]
        (link,) = inference.links
        assert (link.trace_id, link.span_id) in {(batch.trace_id, batch.span_id) for batch in batches}


def test_pictures_of_one_request_share_its_span_in_the_batch(traced: ServiceProcess, collector: TraceCollector) -> None:
    files = [("image", encode(grey())) for _ in range(3)]
    traced.client.post("/score/batch", files=files, headers={"X-Request-ID": "many"})
    span = named("many", collector)
    collector.wait_for(lambda other: other.parent_span_id == span.span_id, 3 * len(STAGES))
    assert sorted(child.name for child in children(span, collector)) == sorted(3 * list(STAGES))
    batches = collector.wait_for(lambda other: span.span_id in {link.span_id for link in other.links})
    assert all(len(batch.links) == 1 for batch in batches)
    assert sum(attributes(batch)["duet.batch.images"] for batch in batches) == 3


def test_what_fails_says_where(traced: ServiceProcess, collector: TraceCollector) -> None:
    traced.client.post("/score", content=b"nonsense", headers={"X-Request-ID": "bad-picture"})
    refused = named("bad-picture", collector)
    assert (refused.status.code, attributes(refused)["duet.problem"]) == (Status.STATUS_CODE_UNSET, "unreadable-image")
    (decode,) = collector.wait_for(lambda span: span.parent_span_id == refused.span_id)
    assert (decode.name, decode.status.code) == ("decode", Status.STATUS_CODE_ERROR)
    assert attributes(decode)["error.type"] == "UnreadableImageError"
    traced.client.post("/score", content=encode(failing()), headers={"X-Request-ID": "bad-engine"})
    failed = named("bad-engine", collector)
    assert (failed.status.code, attributes(failed)["http.response.status_code"]) == (Status.STATUS_CODE_ERROR, 500)
    (batch,) = collector.wait_for(lambda span: failed.span_id in {link.span_id for link in span.links})
    assert (batch.name, batch.status.code) == ("batch", Status.STATUS_CODE_ERROR)


def test_probes_and_scrapes_are_not_traced_and_the_sender_says_who_it_is(
    traced: ServiceProcess, collector: TraceCollector
) -> None:
    traced.client.get("/health/live")
    traced.client.get("/metrics")
    traced.client.get("/models", headers={"X-Request-ID": "after"})
    named("after", collector)
    assert not any(attributes(span).get("url.path", "").startswith(("/health", "/metrics")) for span in collector.spans())
    assert (collector.resource["service.name"], collector.resource["factory.line"]) == ("duet", "4")


def test_a_client_that_samples_nothing_costs_no_spans(traced: ServiceProcess, collector: TraceCollector) -> None:
    traced.client.get("/models", headers={"X-Request-ID": "settled"})
    named("settled", collector)
    batches = len([span for span in collector.spans() if span.name == "batch"])
    headers = {"X-Request-ID": "unsampled", "traceparent": f"00-{TRACE}-{PARENT}-00"}
    answer = traced.client.post("/score", content=encode(grey()), headers=headers)
    assert answer.headers["traceresponse"].endswith("-00")
    traced.client.get("/models", headers={"X-Request-ID": "sampled"})
    named("sampled", collector)
    assert "unsampled" not in {attributes(span).get("duet.request.id") for span in collector.spans()}
    assert len([span for span in collector.spans() if span.name == "batch"]) == batches


def test_what_is_not_sent_yet_goes_out_before_the_end(
    models: Path, tmp_path: Path, collector: TraceCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.endpoint}/v1/traces")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "duet-line-4")
    with running_service(models, tmp_path / "service.log") as service:
        service.client.get("/models", headers={"X-Request-ID": "at-last"})
        service.terminate()
        assert service.exit_code() == 0
    named("at-last", collector)
    assert collector.resource["service.name"] == "duet-line-4"


def test_a_collector_that_is_away_harms_nobody(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with running_service(models, tmp_path / "service.log") as service:
        for _ in range(20):
            assert service.client.post("/score", content=encode(grey())).status_code == 200
        service.terminate()
        assert service.exit_code() == 0
        assert all(line.startswith("{") for line in service.log.read_text().splitlines())


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "'otlp', or 'none'"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "port 4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318", "http://HOST:4318"),
    ],
)
def test_what_cannot_be_done_stops_the_start_with_one_line(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    service = ServiceProcess(models, tmp_path / "service.log")
    try:
        assert service.exit_code() == 2
    finally:
        service.close()
    (line,) = service.log.read_text().splitlines()
    assert f"{name}={value}" in line
    assert remedy in line


@pytest.mark.parametrize("setting", ["", "OTEL_TRACES_EXPORTER=none", "OTEL_SDK_DISABLED=true"])
def test_nothing_is_loaded_where_no_traces_are_wanted(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    if setting:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv(*setting.split("="))
    code = (
        "import sys, service.__main__; from service.tracing_settings import open_tracing; print(open_tracing(),"
        "[name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter', 'service.tracing'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None ['service.tracing_settings']"


def test_without_the_extra_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; sys.modules['opentelemetry.exporter'] = None\n"
        "from service.tracing_settings import open_tracing\nfrom service.settings import SettingsError\n"
        "try: open_tracing()\nexcept SettingsError as error: print(error)"
    )
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "is not installed: install the `otel` extra" in done.stdout
