"""Writes the dashboards' JSON, which Grafana reads: `python -m deploy.grafana.generate`, or `make generated`."""

from __future__ import annotations

from pathlib import Path
from string import ascii_uppercase

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from .line_dashboard import line_dashboard
from .service_dashboard import service_dashboard

FOLDER = Path(__file__).parent / "dashboards"


def as_json(dashboard: Dashboard) -> str:
    """The dashboard as Grafana reads it; panels and their queries get the numbers and letters that it would give them."""
    built = dashboard.build()
    for number, panel in enumerate(built.panels or [], start=1):
        panel.id_val = number
        for letter, target in zip(ascii_uppercase, getattr(panel, "targets", None) or [], strict=False):
            target.ref_id = letter
    return JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"


def files() -> dict[Path, str]:
    """Every dashboard's file and text."""
    return {FOLDER / "service.json": as_json(service_dashboard()), FOLDER / "line.json": as_json(line_dashboard())}


def main() -> None:
    """Write them."""
    for path, text in files().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
