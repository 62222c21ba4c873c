from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from training.noisy_or import hazard_of_logit, joint_hazard, probability

logits = st.floats(-30, 30)
probabilities = st.floats(0.001, 0.999)


def exact(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@given(probabilities, probabilities)
def test_either_branch_makes_the_picture_anomalous(p: float, q: float) -> None:
    hazards = [-torch.log1p(-exact(p)), -torch.log1p(-exact(q))]
    torch.testing.assert_close(probability(joint_hazard(hazards)), exact(1 - (1 - p) * (1 - q)), rtol=1e-12, atol=1e-12)


@given(logits)
def test_the_hazard_of_a_logit_gives_its_sigmoid_back(logit: float) -> None:
    torch.testing.assert_close(probability(hazard_of_logit(exact(logit))), exact(logit).sigmoid(), rtol=1e-9, atol=1e-15)


@given(logits, logits)
def test_the_joint_of_logits_is_the_noisy_or_of_their_probabilities(u: float, v: float) -> None:
    joint = probability(joint_hazard([hazard_of_logit(exact(u)), hazard_of_logit(exact(v))]))
    p, q = exact(u).sigmoid(), exact(v).sigmoid()
    torch.testing.assert_close(joint, p + q - p * q, rtol=1e-9, atol=1e-12)


@given(st.floats(0, 1e4, width=32), st.floats(0, 1e4, width=32))
def test_probabilities_stay_in_range_and_in_order(x: float, y: float) -> None:
    low, high = probability(torch.tensor(sorted((x, y))))
    assert 0 <= low <= high <= 1


def test_a_good_picture_s_likelihood_is_the_sum_of_weighted_losses() -> None:
    losses = torch.tensor([[0.2, 0.5], [0.1, 0.0]])  # [branch, picture]
    likelihood = -torch.log1p(-probability(joint_hazard(list(losses))))
    torch.testing.assert_close(likelihood, torch.tensor([0.3, 0.5]))


def test_the_joint_score_still_ranks_where_probabilities_have_rounded_to_one() -> None:
    logits = torch.tensor([20.0, 40.0, 60.0, 1000.0])
    scores = joint_hazard([hazard_of_logit(logits), hazard_of_logit(logits)])
    assert probability(scores).tolist() == [1.0] * 4
    assert (scores.diff() > 0).all()
    assert scores.isfinite().all()


def test_tiny_probabilities_keep_their_digits() -> None:
    hazard = torch.tensor(1e-12)
    torch.testing.assert_close(probability(hazard), hazard, rtol=1e-6, atol=0)


def test_one_branch_alone_is_its_own_joint() -> None:
    hazard = torch.tensor([0.1, 3.0])
    assert torch.equal(joint_hazard([hazard]), hazard)
