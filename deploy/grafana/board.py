"""What both dashboards have in common."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

from .panels import SOURCE


def board(title: str, uid: str, description: str) -> dashboard.Dashboard:
    """An empty dashboard with the variables `source` and `model`; nobody edits it but in its file."""
    return (
        dashboard.Dashboard(f"Duet: {title}")
        .uid(uid)
        .description(description)
        .tags(["duet"])
        .readonly()
        .timezone("browser")
        .refresh("10s")
        .time("now-30m", "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(dashboard.DashboardLink("Duet").type(models.DashboardLinkType.DASHBOARDS).tags(["duet"]).keep_time(True))
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("model")
            .label("Model")
            .datasource(SOURCE)
            .query("label_values(duet_model_info, model)")
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .current(models.VariableOption(text="All", value="$__all"))
        )
    )
