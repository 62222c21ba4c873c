"""The kinds of panel that Duet's dashboards are made of. A panel is 24 columns wide at most; queries may name `$model`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

GREEN, ORANGE, RED, BLUE, GREY = "green", "orange", "red", "blue", "#808080"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${source}")

Steps = Sequence[tuple[float | None, str]]  # from which value on which colour; the first has no value
CALM: Steps = ((None, BLUE),)  # what is neither good nor bad

_PLAIN_HEIGHT = 8
_STAT_HEIGHT = 4


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Colours by value."""
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in steps])
    )


def query(expression: str, legend: str = "", exemplar: bool = False) -> prometheus.Dataquery:
    """A query over the dashboard's time; one that sums the whole of it up is asked once."""
    asked = prometheus.Dataquery().expr(expression).legend_format(legend).exemplar(exemplar)
    return asked.instant() if "$__range]" in expression else asked.range()


def number(
    title: str,
    description: str,
    expression: str,
    unit: str,
    steps: Steps,
    width: int = 4,
    legend: str = "",
    words: Mapping[str, tuple[str, str]] | None = None,
    names: bool = False,
    none: str = "no data",
    decimals: int | None = None,
) -> stat.Panel:
    """The latest value, large, its background coloured by `steps`.

    `words` gives a value another text and colour; `names` shows the series' names in place of their value.
    """
    plain = names or words or "$__range]" in expression  # nothing that a line behind the value would show
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .thresholds(thresholds(steps))
        .color_mode(common_models.BigValueColorMode.BACKGROUND_SOLID)
        .graph_mode(common_models.BigValueGraphMode.NONE if plain else common_models.BigValueGraphMode.AREA)
        .text_mode(common_models.BigValueTextMode.NAME if names else common_models.BigValueTextMode.AUTO)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value(none)
        .height(_STAT_HEIGHT)
        .span(width)
        .with_target(query(expression, legend))
    )
    if decimals is not None:
        panel = panel.decimals(decimals)
    if words:
        options = {value: models.ValueMappingResult(text=text, color=color) for value, (text, color) in words.items()}
        panel = panel.mappings([models.ValueMap(options=options)])
    return panel


def lines(
    title: str,
    description: str,
    unit: str,
    targets: Sequence[prometheus.Dataquery],
    steps: Steps = CALM,
    width: int = 8,
    stacked: bool = False,
    bars: bool = False,
    largest: float | None = None,
    colors: Mapping[str, str] | None = None,
) -> timeseries.Panel:
    """Series over time, with latest and largest values in the legend; `steps` above 0 are drawn as lines."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .thresholds(thresholds(steps))
        .thresholds_style(
            common.GraphThresholdsStyleConfig().mode(
                common_models.GraphThresholdsStyleMode.DASHED if len(steps) > 1 else common_models.GraphThresholdsStyleMode.OFF
            )
        )
        .legend(
            common.VizLegendOptions()
            .display_mode(common_models.LegendDisplayMode.TABLE)
            .placement(common_models.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI).sort(common_models.SortOrder.DESCENDING)
        )
        .draw_style(common_models.GraphDrawStyle.BARS if bars else common_models.GraphDrawStyle.LINE)
        .fill_opacity(80 if bars else 25 if stacked else 8)
        .show_points(common_models.VisibilityMode.NEVER)
        .span_nulls(False)
        .height(_PLAIN_HEIGHT)
        .span(width)
        .targets(list(targets))
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if largest is not None:
        panel = panel.max(largest)
    for name, color in (colors or {}).items():
        fixed = {"mode": "fixed", "fixedColor": color}
        panel = panel.override_by_name(name, [models.DynamicConfigValue(id_val="color", value=fixed)])
    return panel


def histogram(title: str, description: str, expression: str, unit: str, width: int = 12) -> heatmap.Panel:
    """A Prometheus histogram over time: how often each bucket was met."""
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(64))
        .thresholds(thresholds(CALM))
        .unit("short")
        .show_legend()
        .height(_PLAIN_HEIGHT)
        .span(width)
        .with_target(query(expression, "{{le}}").format(PromQueryFormat.HEATMAP))
    )


def facts(title: str, description: str, expression: str, columns: Mapping[str, str], width: int = 24) -> table.Panel:
    """The labels of an expression's series as a table: `columns` maps a label to its heading."""
    organize = {
        "includeByName": dict.fromkeys(columns, True),
        "indexByName": {label: place for place, label in enumerate(columns)},
        "renameByName": dict(columns),
    }
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit("string")
        .thresholds(thresholds(CALM))
        .height(5)
        .span(width)
        .with_target(prometheus.Dataquery().expr(expression).instant().format(PromQueryFormat.TABLE))
        .with_transformation(models.DataTransformerConfig(id_val="organize", options=organize))
    )
