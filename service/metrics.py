"""Every Prometheus collector of the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from .drift import DriftWindow
from .gpu import GpuCollector

disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double what Prometheus keeps, and nobody asks for them

_MODEL = ("model", "version")
_DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_PROBABILITIES = tuple(round(0.05 * step, 2) for step in range(1, 21))

_EXEMPLAR_CHARACTERS = 128  # that OpenMetrics allows, names and values together

STAGES = ("decode", "queue", "inference", "heatmap")


@dataclass(frozen=True)
class ModelMetrics:
    """The collectors of one loaded model version, its labels already set."""

    inflight_requests: Gauge
    batch_size: Histogram
    batches: Counter
    images: Counter
    stages: dict[str, Histogram]
    scores: dict[str, Histogram]
    anomalous: Counter
    ready: Gauge
    engines_lost: Gauge
    fallback: Gauge
    threshold: Gauge
    queue_depth: Gauge
    queue_capacity: Gauge
    oldest_request_age: Gauge

    def watch_queue(self, depth: Callable[[], float], oldest_age: Callable[[], float], capacity: int) -> None:
        """Read the queue's gauges from these functions at each scrape."""
        self.queue_depth.set_function(depth)
        self.oldest_request_age.set_function(oldest_age)
        self.queue_capacity.set(capacity)


class DriftCollector(Collector):
    """Drift of each loaded model version, computed at a scrape."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], DriftWindow] = {}

    def watch(self, model: str, version: str, window: DriftWindow) -> None:
        """Tell of this window from now on."""
        self._windows[model, version] = window

    def forget(self, model: str, version: str) -> None:
        """Tell of it no more."""
        self._windows.pop((model, version), None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What is not known, such as the drift of a model that has no reference, has no sample."""
        images = GaugeMetricFamily("duet_drift_window_images", "Scored images that drift is measured on", labels=_MODEL)
        ratio = GaugeMetricFamily(
            "duet_drift_anomalous_ratio", "Share of these that the model's own threshold calls anomalous", labels=_MODEL
        )
        psi = GaugeMetricFamily(
            "duet_drift_psi",
            "Population stability index of these against the calibration set's good images; over 0.25 is another population",
            labels=(*_MODEL, "branch"),
        )
        for key, window in list(self._windows.items()):
            images.add_metric(key, window.images())
            if (share := window.anomalous_ratio()) is not None:
                ratio.add_metric(key, share)
            for branch, index in window.stability().items():
                psi.add_metric((*key, branch), index)
        yield from (images, ratio, psi)


class Metrics:
    """All collectors on a registry of their own, so that each application counts for itself.

    What concerns no model yet, such as a request for an unknown one, has empty `model` and `version`.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.drift = DriftCollector()
        registry.register(self.drift)
        registry.register(GpuCollector())
        self.ready = Gauge("duet_ready", "1 if /health/ready answers 200", registry=registry)
        self.requests = Counter(
            "duet_requests_total",
            "Scoring requests by outcome: scored, rejected, failed, cancelled",
            (*_MODEL, "outcome"),
            registry=registry,
        )
        self.rejected = Counter(
            "duet_rejected_total",
            "Scoring requests, and single images of a batch, refused, by kind of problem",
            (*_MODEL, "reason"),
            registry=registry,
        )
        self.cancelled = Counter(
            "duet_cancelled_total",
            "Scoring requests whose client went away, by what was being done",
            (*_MODEL, "stage"),
            registry=registry,
        )
        self._request_duration = Histogram(
            "duet_request_duration_seconds",
            "From the last byte of a request to its answer, of scored requests of one picture",
            _MODEL,
            buckets=_DURATIONS,
            registry=registry,
        )
        self._model_fallback = Gauge(
            "duet_model_fallback",
            "1 if the model runs on another provider than the first of DUET_PROVIDERS",
            _MODEL,
            registry=registry,
        )
        self.model_info = Gauge(
            "duet_model_info", "What serves; always 1", (*_MODEL, "sha256", "provider", "teacher"), registry=registry
        )
        self.model_load_failures = Counter(
            "duet_model_load_failures_total", "Models that could not be loaded", _MODEL, registry=registry
        )
        self.event_listeners = Gauge("duet_event_listeners", "Listeners to /events", registry=registry)
        self.event_listeners_dropped = Counter(
            "duet_event_listeners_dropped_total", "Listeners to /events cut off because they read too slowly", registry=registry
        )
        self.feedback = Counter(
            "duet_feedback_total",
            "Labels that people gave to results, by the label and by what the model had said: anomalous, good",
            (*_MODEL, "label", "verdict"),
            registry=registry,
        )
        self.archived = Counter(
            "duet_archived_total",
            "Pictures written to the archive, by why they are kept: anomalous, feedback",
            (*_MODEL, "reason"),
            registry=registry,
        )
        self.archive_failures = Counter(
            "duet_archive_failures_total",
            "Pictures or labels missing in the archive: queue-full because the disk is slow, write because it is full or gone",
            ("reason",),
            registry=registry,
        )
        for reason in ("queue-full", "write"):
            self.archive_failures.labels(reason)
        self.archive_bytes = Gauge("duet_archive_bytes", "Size of the archive", registry=registry)
        self._stage_duration = Histogram(
            "duet_stage_duration_seconds",
            "Time of one image in each stage",
            (*_MODEL, "stage"),
            buckets=_DURATIONS,
            registry=registry,
        )
        self._batch_size = Histogram(
            "duet_batch_size", "Images in a batch, padding not counted", _MODEL, buckets=_BATCHES, registry=registry
        )
        self._batches = Counter("duet_batches_total", "Batches given to the engine", _MODEL, registry=registry)
        self._images = Counter("duet_images_total", "Images given to the engine", _MODEL, registry=registry)
        self._queue_depth = Gauge(
            "duet_queue_depth", "Images being decoded or waiting for the engine", _MODEL, registry=registry
        )
        self._queue_capacity = Gauge(
            "duet_queue_capacity", "Images that may be decoded or wait at once", _MODEL, registry=registry
        )
        self._oldest_request_age = Gauge(
            "duet_oldest_request_age_seconds",
            "Age of the image that has waited longest for the engine",
            _MODEL,
            registry=registry,
        )
        self._inflight_requests = Gauge("duet_inflight_requests", "Scoring requests being answered", _MODEL, registry=registry)
        self._score = Histogram(
            "duet_score",
            "Anomaly probabilities answered, the signal of drift",
            (*_MODEL, "branch"),
            buckets=_PROBABILITIES,
            registry=registry,
        )
        self._anomalous = Counter("duet_anomalous_total", "Images called anomalous", _MODEL, registry=registry)
        self._threshold = Gauge(
            "duet_model_threshold",
            "Joint probability from which an image is anomalous, unless its request says otherwise",
            _MODEL,
            registry=registry,
        )
        self._model_ready = Gauge("duet_model_ready", "1 if the model answers requests", _MODEL, registry=registry)
        self._engines_lost = Gauge(
            "duet_model_engines_lost", "Engines of the model that have ended or are stuck", _MODEL, registry=registry
        )

    def observe_request(self, model: str, version: str, seconds: float, request_id: str) -> None:
        """Observe the duration of a scored request, with its id as the exemplar unless a client has made it too long."""
        exemplar = {"request_id": request_id}
        fits = sum(len(name) + len(value) for name, value in exemplar.items()) <= _EXEMPLAR_CHARACTERS
        self._request_duration.labels(model, version).observe(seconds, exemplar if fits else None)

    def of_model(self, model: str, version: str, sha256: str = "", provider: str = "", teacher: str = "") -> ModelMetrics:
        """The collectors of one model version, which from now on is what this version is."""
        labels = {"model": model, "version": version}
        self.model_info.remove_by_labels(labels)
        self.model_info.labels(**labels, sha256=sha256, provider=provider, teacher=teacher).set(1)
        return ModelMetrics(
            inflight_requests=self._inflight_requests.labels(**labels),
            batch_size=self._batch_size.labels(**labels),
            batches=self._batches.labels(**labels),
            images=self._images.labels(**labels),
            stages={stage: self._stage_duration.labels(**labels, stage=stage) for stage in STAGES},
            scores={branch: self._score.labels(**labels, branch=branch) for branch in ("local", "semantic", "joint")},
            anomalous=self._anomalous.labels(**labels),
            ready=self._model_ready.labels(**labels),
            engines_lost=self._engines_lost.labels(**labels),
            fallback=self._model_fallback.labels(**labels),
            threshold=self._threshold.labels(**labels),
            queue_depth=self._queue_depth.labels(**labels),
            queue_capacity=self._queue_capacity.labels(**labels),
            oldest_request_age=self._oldest_request_age.labels(**labels),
        )

    def forget(self, model: str, version: str) -> None:
        """Take the gauges of a version that is loaded no more away; what was counted of it stays."""
        queue = (self._queue_depth, self._queue_capacity, self._oldest_request_age, self._inflight_requests)
        for gauge in (*queue, self._model_ready, self._engines_lost, self._model_fallback, self._threshold):
            gauge.remove(model, version)
        self.model_info.remove_by_labels({"model": model, "version": version})
        self.drift.forget(model, version)
