"""What the log line of a scoring request says beside its address: model, scores, stages, outcome. Never a picture."""

from __future__ import annotations

from starlette.requests import Request

from .progress import Progress


def scoring_fields(request: Request) -> dict[str, object]:
    """The fields, from what route and metering left in `request.state`; none of a request that was not for scores.

    `scores` are those of the picture with the highest joint probability, `anomalous` counts pictures.
    """
    state = request.state
    if (outcome := getattr(state, "outcome", None)) is None:
        return {}
    fields: dict[str, object] = {"outcome": outcome}
    if (problem := getattr(state, "problem", None)) is not None:
        fields["problem"] = problem
    if (model := getattr(state, "model", None)) is not None:
        fields |= {"model": model[0], "version": model[1]}
    progress: Progress | None = getattr(state, "progress", None)
    if progress is not None and progress.verdicts:
        worst = max(progress.verdicts, key=lambda verdict: verdict.probabilities.joint)
        fields |= {
            "images": len(progress.verdicts),
            "anomalous": sum(verdict.anomalous for verdict in progress.verdicts),
            "scores": {branch: round(value, 6) for branch, value in worst.probabilities if value is not None},
        }
    if progress is not None and progress.seconds:
        fields["stages"] = {stage: round(1000 * seconds, 3) for stage, seconds in progress.seconds.items()}
    return fields
