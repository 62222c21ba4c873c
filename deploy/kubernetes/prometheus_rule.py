"""Writes the Prometheus operator's PrometheusRule from the rules that Prometheus itself reads: `make generated`."""

from __future__ import annotations

import textwrap
from pathlib import Path

DEPLOY = Path(__file__).parents[1]
RULES = DEPLOY / "prometheus" / "rules.yml"
PATH = DEPLOY / "kubernetes" / "base" / "prometheus-rule.yaml"
_HEAD = """\
# Made from deploy/prometheus/rules.yml by `make generated`: change it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: duet
spec:
"""


def prometheus_rule() -> str:
    """The text of the resource, the rules' comments included."""
    return _HEAD + textwrap.indent(RULES.read_text(), "  ")


if __name__ == "__main__":
    PATH.write_text(prometheus_rule())
