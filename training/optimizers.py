"""Muon for the matrices of transformer blocks, AdamW for everything else; StableAdamW, which Dinomaly trains with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, overload

import torch
from torch import Tensor, nn

from .precision import TYPES, native_precision


class Muon(torch.optim.Muon):
    """Muon (Jordan et al., 2024) on 2-d parameters; its steps are as large as AdamW's at the same rate (arXiv 2502.16982).

    After as many steps its losses were clearly the lower ones, here of both the compact teacher and the decoder student.
    torch's own step multiplies in bfloat16 whatever the machine: emulated (AVX2), that was nine tenths of a training step.
    """

    def __init__(self, matrices: Sequence[nn.Parameter], learning_rate: float, weight_decay: float) -> None:
        super().__init__([{"params": matrices, "base_lr": learning_rate}], weight_decay=weight_decay)
        self._type = TYPES[native_precision()]

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._change(parameter, parameter.grad, group)
        return loss

    def _change(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        direction = gradient.lerp(momentum, group["momentum"])  # Nesterov's
        change = _orthogonal(direction.to(self._type), group["ns_coefficients"], group["ns_steps"], group["eps"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(change, alpha=-0.2 * math.sqrt(max(parameter.shape)) * group["lr"])


def _orthogonal(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """About U V^T of a matrix U S V^T, by Newton and Schulz's iteration (kellerjordan.github.io/posts/muon)."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=eps)  # no singular value above 1
    a, b, c = coefficients
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


class StableAdamW(torch.optim.AdamW):
    """AdamW with AMSGrad, its rate divided for each tensor by the root mean square of g / sqrt(v) where that exceeds 1.

    So a tensor whose gradient grows faster than its second moment learns of it does not jump (Wortsman et al., arXiv
    2304.13013, section 3.5; v is AMSGrad's, as in Dinomaly). `groups` are parameters with a "base_lr" each; every tensor gets
    a group of its own.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], weight_decay: float) -> None:
        apart = [{**group, "params": [parameter]} for group in groups for parameter in group["params"]]
        super().__init__(apart, betas=(0.9, 0.999), eps=1e-10, weight_decay=weight_decay, amsgrad=True)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        rates = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            group["lr"] /= self._excess(group)
        loss: float | None = super().step(closure)
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = rate
        return loss

    def _excess(self, group: dict[str, Any]) -> float:
        """max(1, RMS(g / sqrt(v))) of the group's tensor, v AMSGrad's with this gradient in it and without its bias to zero."""
        (parameter,) = group["params"]
        if parameter.grad is None:
            return 1.0
        squares, beta = parameter.grad.square(), group["betas"][1]
        state = self.state[parameter]
        steps = float(state["step"]) + 1 if state else 1.0
        moment = (1 - beta) * squares
        if state:
            moment = torch.maximum(beta * state["exp_avg_sq"] + moment, state["max_exp_avg_sq"])
        ratio = squares / (moment / (1 - beta**steps)).clamp_min(group["eps"] ** 2)
        return max(1.0, float(ratio.mean().sqrt()))


def scale_learning_rates(optimizers: Sequence[torch.optim.Optimizer], factor: float) -> None:
    """Set each group's learning rate to `factor` times its "base_lr"."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
