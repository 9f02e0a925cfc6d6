"""Muon: momentum whose update is orthogonalised (https://kellerjordan.github.io/posts/muon), in float32.

`torch.optim.Muon` iterates in bfloat16, which is ten times slower than float32 on CPUs without such instructions.
"""

from collections.abc import Sequence
from typing import Any

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5

DECAY = 0.2
"""Share of a weight that decays per step and unit of rate: with 0.01 the models learn the training split by heart."""


class Muon:
    """Update matrices of equal shape together, as one batch of products."""

    def __init__(self, weights: Sequence[Any], rate: float, momentum: float = 0.95, decay: float = DECAY) -> None:
        import torch

        self.param_groups: list[dict[str, Any]] = [{"lr": rate}]
        self._momentum, self._decay = momentum, decay
        by_shape: dict[tuple[int, int], list[Any]] = {}
        for weight in weights:
            by_shape.setdefault(tuple(weight.shape), []).append(weight)
        self._groups = [(group, torch.zeros(len(group), *shape)) for shape, group in sorted(by_shape.items())]

    def step(self) -> None:
        """Move every weight that has a gradient."""
        import torch

        rate = self.param_groups[0]["lr"]
        with torch.no_grad():
            for weights, average_WRC in self._groups:
                gradient_WRC = torch.stack([weight.grad for weight in weights])
                average_WRC.lerp_(gradient_WRC, 1 - self._momentum)
                update_WRC = _orthogonalise(gradient_WRC.lerp(average_WRC, self._momentum))
                rows, columns = average_WRC.shape[1:]
                scale = max(1.0, rows / columns) ** 0.5
                for weight, update_RC in zip(weights, update_WRC, strict=True):
                    weight.mul_(1 - rate * self._decay).add_(update_RC, alpha=-rate * scale)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for weights, _ in self._groups:
            for weight in weights:
                weight.grad = None


def _orthogonalise(matrix_WRC: Any) -> Any:
    """Replace each matrix by the nearest semi-orthogonal one, by a quintic Newton-Schulz iteration."""
    a, b, c = _COEFFICIENTS
    is_tall = matrix_WRC.shape[1] > matrix_WRC.shape[2]
    x = matrix_WRC.mT if is_tall else matrix_WRC
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x
