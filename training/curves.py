"""ROC curves and histograms of each branch's scores: how well good and anomalous pictures part."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from .data import GOOD
from .evaluate import Evaluation
from .measures import RANKED_BY

BINS = 60
DECADES = 20  # from where on a linear axis hides the lower scores


def draw_curves(evaluation: Evaluation) -> Figure:
    """One panel of ROC curves, then one of score histograms for each branch that the model has."""
    labels = np.array([sample.label for sample in evaluation.samples])
    branches = {branch: tensor for branch, tensor in RANKED_BY.items() if tensor in evaluation.outputs}
    figure = Figure(figsize=(3.4 * (1 + len(branches)), 3.2), layout="constrained")
    roc, *panels = figure.subplots(1, 1 + len(branches))
    for (branch, tensor), panel in zip(branches.items(), panels, strict=True):
        scores = evaluation.outputs[tensor].astype(np.float64)
        false_alarms, found, _ = roc_curve(labels, scores)
        roc.plot(false_alarms, found, label=f"{branch} {100 * evaluation.metrics[f'image_auroc/{branch}']:.1f} %")
        scores = np.maximum(scores, 1e-6)
        decades_apart = scores.max() > DECADES * scores.min()
        bins = (np.geomspace if decades_apart else np.linspace)(scores.min(), scores.max() * 1.001, BINS)
        for name, of_kind, colour in (("good", labels == GOOD, "tab:blue"), ("anomalous", labels != GOOD, "tab:red")):
            share = np.full(of_kind.sum(), 1 / of_kind.sum())
            panel.hist(scores[of_kind], bins, weights=share, alpha=0.6, color=colour, label=name)
        panel.set(
            xscale="log" if decades_apart else "linear", title=f"{branch} score", xlabel="score", ylabel="share of pictures"
        )
        panel.legend(fontsize=8, loc="upper center")
    roc.plot([0, 1], [0, 1], color="grey", linewidth=0.7, linestyle="--")
    roc.set(title="ROC", xlabel="false alarms", ylabel="found", xlim=(0, 1), ylim=(0, 1.01))
    roc.legend(fontsize=8, loc="lower right")
    return figure
