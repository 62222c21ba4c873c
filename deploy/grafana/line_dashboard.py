"""The dashboard *Line*: are the parts as they should be, and does the line still look as it did at calibration?"""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from .board import board
from .panels import CALM, GREEN, GREY, ORANGE, RED, Steps, histogram, lines, number, query

_MODEL = '{model=~"$model"}'
_JOINT = '{model=~"$model",branch="joint"}'
_RATE = "[$__rate_interval]"
_RANGE = "[$__range]"
_NAME = "{{model}} {{version}}"
# By custom, a population stability index of 0.1 is worth a look, and 0.25 another population.
_DRIFT: Steps = ((None, GREY), (0, GREEN), (0.1, ORANGE), (0.25, RED))
_ANOMALOUS: Steps = ((None, GREY), (0, GREEN), (0.03, ORANGE), (0.1, RED))


def _anomalous(window: str, by: str = "") -> str:
    return f"sum{by}(rate(duet_anomalous_total{_MODEL}{window})) / (sum{by}(rate(duet_score_count{_JOINT}{window})) > 0)"


def _score(share: float, branch: str) -> str:
    buckets = f'duet_score_bucket{{model=~"$model",branch="{branch}"}}'
    return f"histogram_quantile({share}, sum by (le, model, version) (rate({buckets}{_RATE})))"


def line_dashboard() -> Dashboard:
    """Scores over time, anomaly rate, drift, threshold and recent verdicts."""
    by_model = " by (model, version) "
    return (
        board("Line", "duet-line", "Are the parts as they should be?")
        .with_panel(
            number(
                "Anomalous",
                "Share of the shown time's parts that were called anomalous.",
                _anomalous(_RANGE),
                "percentunit",
                _ANOMALOUS,
                none="no parts",
                decimals=1,
            )
        )
        .with_panel(
            number(
                "Parts",
                "Parts scored in the shown time.",
                f"sum(increase(duet_score_count{_JOINT}{_RANGE}))",
                "short",
                CALM,
                none="no parts",
                decimals=0,
            )
        )
        .with_panel(
            number(
                "Drift",
                "How far scores lie from those of the calibration's good parts: population stability index, of the branch"
                " furthest off. Over 0.25: look at lamp, lens and material before the parts (runbook: DuetDrift). Not known:"
                " fewer than 200 parts, or a model file of old that has no reference.",
                f"max(duet_drift_psi{_MODEL})",
                "short",
                _DRIFT,
                none="not known",
                decimals=2,
            )
        )
        .with_panel(
            number(
                "Joint score, median",
                "Half of the parts had a joint probability below this.",
                _score(0.5, "joint"),
                "percentunit",
                CALM,
                legend=_NAME,
                none="no parts",
                decimals=0,
            )
        )
        .with_panel(
            number(
                "Threshold",
                "Joint probability from which a part is anomalous, unless its request says otherwise.",
                f"max{by_model}(duet_model_threshold{_MODEL})",
                "percentunit",
                ((None, GREY),),
                legend=_NAME,
                decimals=1,
            )
        )
        .with_panel(
            number(
                "Parts a minute",
                "Parts scored a minute, now. 0: the line stands, or its camera does.",
                f"60 * sum(rate(duet_score_count{_JOINT}{_RATE}))",
                "short",
                ((None, GREY), (0, ORANGE), (0.01, GREEN)),
                none="no parts",
                decimals=0,
            )
        )
        .with_row(Row("Verdicts"))
        .with_panel(
            lines(
                "Anomaly rate",
                "Share of parts called anomalous. A step up: a bad batch, or a line that changed.",
                "percentunit",
                [query(_anomalous(_RATE, by_model), _NAME)],
                _ANOMALOUS,
                width=12,
            )
        )
        .with_panel(
            lines(
                "Verdicts",
                "Parts a minute by verdict.",
                "cpm",
                [
                    query(
                        f"60 * (sum(rate(duet_score_count{_JOINT}{_RATE})) - sum(rate(duet_anomalous_total{_MODEL}{_RATE})))",
                        "good",
                    ),
                    query(f"60 * sum(rate(duet_anomalous_total{_MODEL}{_RATE}))", "anomalous"),
                ],
                width=12,
                stacked=True,
                colors={"good": GREEN, "anomalous": RED},
            )
        )
        .with_row(Row("Scores"))
        .with_panel(
            lines(
                "Joint score and threshold",
                "Median, 95th and 99th percentile of the joint probability. Good parts' 99th percentile should stay under the"
                " threshold.",
                "percentunit",
                [
                    *(query(_score(share, "joint"), f"p{share * 100:.0f} {_NAME}") for share in (0.5, 0.95, 0.99)),
                    query(f"max{by_model}(duet_model_threshold{_MODEL})", f"threshold {_NAME}"),
                ],
                largest=1,
            )
        )
        .with_panel(
            lines(
                "Local: scratches, missing pins",
                "Median and 95th percentile of the local probability.",
                "percentunit",
                [query(_score(share, "local"), f"p{share * 100:.0f} {_NAME}") for share in (0.5, 0.95)],
                largest=1,
            )
        )
        .with_panel(
            lines(
                "Semantic: the wrong part",
                "Median and 95th percentile of the semantic probability.",
                "percentunit",
                [query(_score(share, "semantic"), f"p{share * 100:.0f} {_NAME}") for share in (0.5, 0.95)],
                largest=1,
            )
        )
        .with_panel(
            histogram(
                "Parts by joint score",
                "How many parts had which joint probability. Two bands are good and bad parts; one that wanders is drift.",
                f"sum by (le) (increase(duet_score_bucket{_JOINT}{_RATE}))",
                "percentunit",
                width=24,
            )
        )
        .with_row(Row("Drift"))
        .with_panel(
            lines(
                "Drift from calibration",
                "Population stability index of the latest 2,000 parts of the last day. From 0.25 on another population.",
                "short",
                [query(f"max by (model, version, branch) (duet_drift_psi{_MODEL})", f"{{{{branch}}}} {_NAME}")],
                _DRIFT,
            )
        )
        .with_panel(
            lines(
                "Above the threshold, of those",
                "Share of the same parts that the model's own threshold calls anomalous, whatever requests asked for.",
                "percentunit",
                [query(f"max{by_model}(duet_drift_anomalous_ratio{_MODEL})", _NAME)],
                _ANOMALOUS,
            )
        )
        .with_panel(
            lines(
                "Parts that drift is measured on",
                "Under 200 no drift is told, because chance alone would exceed 0.25 too often.",
                "short",
                [query(f"sum{by_model}(duet_drift_window_images{_MODEL})", _NAME)],
                ((None, GREY), (200, GREEN)),
            )
        )
    )
