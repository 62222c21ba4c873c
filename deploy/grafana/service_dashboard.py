"""The dashboard *Service*: is Duet healthy, and if not, what is short?"""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from .board import board
from .panels import BLUE, CALM, GREEN, GREY, ORANGE, RED, Steps, facts, histogram, lines, number, query

_MODEL = '{model=~"$model"}'
_RATE = "[$__rate_interval]"
_FAULTS = f'sum(rate(duet_requests_total{{model=~"$model|",outcome="failed"}}{_RATE}))'
_ALL = f'sum(rate(duet_requests_total{{model=~"$model|"}}{_RATE}))'
_OUTCOMES = {"scored": GREEN, "rejected": ORANGE, "failed": RED, "cancelled": GREY}
_RATIO: Steps = ((None, GREY), (0, GREEN), (0.001, ORANGE), (0.01, RED))
# The objective of deploy/prometheus/rules.yml: 99 of 100 within 0.5 s.
_LATENCY: Steps = ((None, GREY), (0, GREEN), (0.5, ORANGE), (1.0, RED))
_QUEUE: Steps = ((None, GREY), (0, GREEN), (0.5, ORANGE), (0.8, RED))


def _quantile(share: float, metric: str, by: str = "le") -> str:
    return f"histogram_quantile({share}, sum by ({by}) (rate({metric}_bucket{_MODEL}{_RATE})))"


def service_dashboard() -> Dashboard:
    """Traffic, errors, latency by stage, queue, batch size, provider and resources."""
    return (
        board("Service", "duet-service", "Is Duet healthy, and if not, what is short?")
        .with_panel(
            number(
                "Ready",
                "Whether every instance answers. Red: the runbook's DuetNotReady or DuetScrapeDown.",
                'min(duet_ready or up{job="duet"} == 0)',
                "short",
                ((None, RED), (1, GREEN)),
                words={"1": ("ready", GREEN), "0": ("NOT READY", RED)},
                none="NO DUET",
            )
        )
        .with_panel(number("Requests", "Scoring requests a second, all outcomes.", _ALL, "reqps", CALM, none="no traffic"))
        .with_panel(
            number(
                "Failed",
                "Share of requests that Duet failed to answer. Refused and cancelled ones do not count.",
                f"({_FAULTS} or vector(0)) / ({_ALL} > 0)",
                "percentunit",
                _RATIO,
                none="no traffic",
                decimals=2,
            )
        )
        .with_panel(
            number(
                "p99 latency",
                "99 of 100 requests of one picture were answered in this time, once they were received.",
                _quantile(0.99, "duet_request_duration_seconds"),
                "s",
                _LATENCY,
                none="no traffic",
            )
        )
        .with_panel(
            number(
                "Queue",
                "Share of the queue that was full, at most, of late; at 100 % requests are refused.",
                f"max(max_over_time(duet_queue_depth{_MODEL}{_RATE}) / duet_queue_capacity{_MODEL})",
                "percentunit",
                _QUEUE,
                decimals=0,
            )
        )
        .with_panel(
            number(
                "Computes on",
                "ONNX Runtime's provider in use. Orange: not the preferred one, see the runbook's DuetFellBack.",
                "max by (provider) (duet_model_fallback * on (job, instance, model, version) group_left (provider)"
                f" duet_model_info{_MODEL})",
                "short",
                ((None, BLUE), (1, ORANGE)),
                legend="{{provider}}",
                names=True,
            )
        )
        .with_row(Row("Traffic"))
        .with_panel(
            lines(
                "Requests by outcome",
                "Scoring requests a second.",
                "reqps",
                [query(f'sum by (outcome) (rate(duet_requests_total{{model=~"$model|"}}{_RATE}))', "{{outcome}}")],
                stacked=True,
                colors=_OUTCOMES,
            )
        )
        .with_panel(
            lines(
                "Refused, by reason",
                "Requests and single pictures a second. queue-full: more comes than can be computed.",
                "reqps",
                [query(f'sum by (reason) (rate(duet_rejected_total{{model=~"$model|"}}{_RATE}))', "{{reason}}")],
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Pictures computed",
                "Pictures a second that went through the engine, by model.",
                "pps",
                [query(f"sum by (model, version) (rate(duet_images_total{_MODEL}{_RATE}))", "{{model}} {{version}}")],
            )
        )
        .with_row(Row("Latency"))
        .with_panel(
            lines(
                "Request",
                "From last byte to answer, of requests of one picture. Points are requests: their id leads to the log line.",
                "s",
                [
                    query(_quantile(share, "duet_request_duration_seconds"), f"p{share * 100:.0f}", exemplar=True)
                    for share in (0.5, 0.9, 0.99)
                ],
                _LATENCY,
            )
        )
        .with_panel(
            lines(
                "Stages, p95",
                "Where the time of a picture goes. queue grows first when the engine cannot keep up.",
                "s",
                [query(_quantile(0.95, "duet_stage_duration_seconds", "le, stage"), "{{stage}}")],
            )
        )
        .with_panel(
            histogram(
                "Requests by duration",
                "How many requests of one picture took how long.",
                f"sum by (le) (increase(duet_request_duration_seconds_bucket{_MODEL}{_RATE}))",
                "s",
                width=8,
            )
        )
        .with_row(Row("Queue and batches"))
        .with_panel(
            lines(
                "Queue",
                "Pictures being decoded or waiting, and how many may be at once.",
                "short",
                [
                    query(f"sum(duet_queue_depth{_MODEL})", "waiting"),
                    query(f"sum(duet_queue_capacity{_MODEL})", "capacity"),
                ],
                colors={"capacity": GREY, "waiting": BLUE},
            )
        )
        .with_panel(
            lines(
                "Oldest picture waiting",
                "Age of the picture that has waited longest for the engine.",
                "s",
                [query(f"max by (model, version) (duet_oldest_request_age_seconds{_MODEL})", "{{model}} {{version}}")],
            )
        )
        .with_panel(
            lines(
                "Pictures in a batch, mean",
                "1: no two waited at once. DUET_MAX_BATCH_SIZE: the engine is never without work.",
                "short",
                [
                    query(
                        f"sum by (model, version) (rate(duet_batch_size_sum{_MODEL}{_RATE}))"
                        f" / sum by (model, version) (rate(duet_batch_size_count{_MODEL}{_RATE}))",
                        "{{model}} {{version}}",
                    )
                ],
            )
        )
        .with_row(Row("Resources"))
        .with_panel(
            lines(
                "Processor",
                "Cores in use.",
                "short",
                [query(f'sum by (instance) (rate(process_cpu_seconds_total{{job="duet"}}{_RATE}))', "{{instance}}")],
            )
        )
        .with_panel(
            lines(
                "Memory",
                "Resident memory. It may rise by what large pictures take, and comes back.",
                "bytes",
                [query('sum by (instance) (process_resident_memory_bytes{job="duet"})', "{{instance}}")],
            )
        )
        .with_panel(
            lines(
                "Open files and sockets",
                "Against what the system allows.",
                "short",
                [query('max by (instance) (process_open_fds{job="duet"})', "{{instance}}")],
            )
        )
        .with_row(Row("Models"))
        .with_panel(
            facts(
                "Models that serve",
                "One line a version.",
                f"duet_model_info{_MODEL}",
                {
                    "instance": "Instance",
                    "model": "Model",
                    "version": "Version",
                    "provider": "Computes on",
                    "teacher": "Teacher",
                    "sha256": "SHA-256 of the file",
                },
            )
        )
        .with_row(Row("GPU"))
        .with_panel(
            lines(
                "GPU memory",
                "In use, by whomever, and how much there is. Nothing where there is no GPU.",
                "bytes",
                [
                    query("max by (instance, device) (duet_gpu_memory_used_bytes)", "{{instance}} {{device}}"),
                    query("max by (instance, device) (duet_gpu_memory_total_bytes)", "{{instance}} {{device}}, there is"),
                ],
                width=12,
            )
        )
        .with_panel(
            lines(
                "GPU utilisation",
                "Share of the time in which a GPU computed anything. Nothing where there is no GPU.",
                "percentunit",
                [query("max by (instance, device) (duet_gpu_utilization_ratio)", "{{instance}} {{device}}")],
                width=12,
                largest=1,
            )
        )
    )
