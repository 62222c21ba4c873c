from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from training.metrics import auroc_placements, average_precision, f1_max, image_auroc

Metric = Callable[..., float]


METRICS = [image_auroc, average_precision, f1_max]

# few distinct scores, so that ties are common
scored = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=30).filter(
    lambda pairs: len({label for _, label in pairs}) == 2
)


def test_perfect_ranking_is_one_in_every_metric() -> None:
    for metric in METRICS:
        assert metric([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]) == 1.0


def test_hand_computed_ranking() -> None:
    # by falling score: anomalous, good, anomalous, good
    scores, labels = [4, 3, 2, 1], [1, 0, 1, 0]
    assert image_auroc(scores, labels) == pytest.approx(3 / 4)
    assert average_precision(scores, labels) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert f1_max(scores, labels) == pytest.approx(2 * 2 / (3 + 2))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30))
def test_placements_are_the_auroc_by_pairs(pairs: list[tuple[int, int]]) -> None:
    good, anomalous = np.array(pairs).T
    placements = auroc_placements(good, anomalous)
    assert placements.mean() == pytest.approx(image_auroc([*good, *anomalous], np.repeat([0, 1], len(pairs))))


def test_placements_know_how_far_a_difference_errs() -> None:
    """Two models that see the same pictures, whose defects are faint or clear whichever model looks."""
    rng = np.random.default_rng(0)
    differences, errors = [], []
    for _ in range(400):
        pictures = rng.normal(size=100)
        models = [
            auroc_placements(pictures + noise * rng.normal(size=100), pictures + 1 + noise * rng.normal(size=100))
            for noise in (0.1, 0.3)
        ]
        difference = models[0] - models[1]
        differences.append(difference.mean())
        errors.append(2 * difference.std() / 10)
    assert np.mean(errors) == pytest.approx(np.std(differences), rel=0.1)


def test_equal_scores_carry_no_information() -> None:
    assert image_auroc([5, 5, 5, 5], [0, 1, 0, 1]) == 0.5
    assert f1_max([5, 5, 5, 5], [0, 1, 0, 1]) == pytest.approx(2 * 2 / (4 + 2))


def test_scores_that_differ_in_the_last_float32_bit_are_ranked() -> None:
    low = np.float32(20.0)
    assert image_auroc(np.array([low, np.nextafter(low, np.float32(21))]), [0, 1]) == 1.0


@given(scored)
def test_auroc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = zip(*pairs, strict=True)
    good = [s for s, label in pairs if not label]
    bad = [s for s, label in pairs if label]
    in_order = sum((b > g) + 0.5 * (b == g) for b in bad for g in good)
    assert image_auroc(scores, labels) == pytest.approx(in_order / (len(good) * len(bad)))
    assert image_auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


@given(scored)
def test_average_precision_sums_precision_over_gained_recall(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = zip(*pairs, strict=True)
    expected, found = 0.0, 0
    for threshold in sorted(set(scores), reverse=True):
        called = [label for score, label in pairs if score >= threshold]
        expected += (sum(called) - found) * sum(called) / len(called) / sum(labels)
        found = sum(called)
    assert average_precision(scores, labels) == pytest.approx(expected)
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores))


@given(scored)
def test_f1_max_is_the_best_of_all_thresholds(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = zip(*pairs, strict=True)
    best = max(f1_score(labels, [score >= threshold for score in scores]) for threshold in scores)
    assert f1_max(scores, labels) == pytest.approx(best)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, 0.2], [0, 0], "all 2 are good"),
        ([0.1, 0.2], [1, 1], "all 2 are anomalous"),
        ([], [], "all 0 are good"),
        ([0.1, 0.2, 0.3], [0, 1], r"\(3,\) and \(2,\)"),
        ([[0.1, 0.2]], [[0, 1]], "1-dimensional"),
        ([0.1, float("nan")], [0, 1], "1 values are not finite"),
        ([0.1, float("inf")], [0, 1], "1 values are not finite"),
        ([0.1, 0.2], [0, 255], "must be 0 or 1"),
    ],
)
def test_unusable_input_is_refused(metric: Metric, scores: list[float], labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric(scores, labels)
