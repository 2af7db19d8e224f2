"""Muon (Jordan et al. 2024): momentum made orthogonal, which halves the steps that the convolutions need here."""

from collections.abc import Callable

import torch
from torch import Tensor

MOMENTUM = 0.95
# Coefficients of Jordan's Newton-Schulz iteration: singular values end near 1, quickly rather than exactly.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 4


class Muon(torch.optim.AdamW):
    """AdamW, but for groups that say `orthogonal`, whose weights are taken as matrices."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        for group in self.param_groups:
            if group.get("orthogonal"):
                self.step_orthogonally(group["params"], group["lr"], group["weight_decay"])
        super().step(closure)
        return None

    def step_orthogonally(self, weights: list[Tensor], rate: float, decay: float) -> None:
        for weight in weights:
            if weight.grad is None:
                continue
            momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
            momentum.mul_(MOMENTUM).add_(weight.grad)
            direction = orthogonal((weight.grad + MOMENTUM * momentum).flatten(1))
            weight.mul_(1 - rate * decay).sub_(rate * direction.reshape(weight.shape))
            weight.grad = None  # AdamW skips weights without a gradient.


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix with singular values of 1, longer for tall matrices."""
    rows, columns = matrix.shape
    wide = (matrix.T if rows > columns else matrix).bfloat16()
    wide = wide / (wide.norm() + 1e-7)
    first, second, third = COEFFICIENTS
    for _ in range(NUM_ITERATIONS):
        square = wide @ wide.T
        wide = first * wide + (second * square + third * square @ square) @ wide
    scale = float(max(1.0, rows / columns) ** 0.5)
    shaped: Tensor = wide.T if rows > columns else wide
    return shaped.float() * scale
