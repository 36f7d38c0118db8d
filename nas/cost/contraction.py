"""Many small contractions of coefficients with the weights of decisions, evaluated together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.space.weights import Weights


@dataclass(frozen=True, slots=True)
class Contraction:
    """sum over option indices i, j, ... of c[i, j, ...] * z_1[i] * z_2[j] * ...

    Args:
        decisions: Names of the decisions, none for a constant.
        coefficients: [q1, ..., qn]; [] for a constant.
    """

    decisions: tuple[str, ...]
    coefficients: Tensor


class ContractionBank(nn.Module):
    """Evaluates contractions in one batch for each shape of coefficients, in float64: costs span orders of magnitude.

    Args:
        contractions: What to evaluate; their order is that of the result.
    """

    order: Tensor

    def __init__(self, contractions: Sequence[Contraction]) -> None:
        super().__init__()
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, contraction in enumerate(contractions):
            by_shape[tuple(contraction.coefficients.shape)].append(index)
        self._decisions: list[list[tuple[str, ...]]] = []
        self._names: list[str] = []
        order: list[int] = []
        for number, members in enumerate(by_shape.values()):
            order.extend(members)
            self._decisions.append([contractions[i].decisions for i in members])
            self._names.append(f"coefficients_{number}")
            stacked = torch.stack([contractions[i].coefficients.double() for i in members])
            self.register_buffer(self._names[-1], stacked, persistent=False)
        inverse = torch.empty(len(order), dtype=torch.long)
        inverse[torch.tensor(order, dtype=torch.long)] = torch.arange(len(order))
        self.register_buffer("order", inverse, persistent=False)

    def forward(self, weights: Weights) -> Tensor:
        """The value of each contraction, [T], or [N, T] for weights per image."""
        results = []
        for name, decisions in zip(self._names, self._decisions, strict=True):
            result: Tensor = self.get_buffer(name)  # [T, q1, ..., qn]
            axes = "abcdefgh"[: result.dim() - 1]
            while axes:
                z = _stacked([weights.values[names[len(axes) - 1]] for names in decisions])  # [..., T, q]
                result = torch.einsum(f"...t{axes},...t{axes[-1]}->...t{axes[:-1]}", result, z)
                axes = axes[:-1]
            results.append(result)
        batch = torch.broadcast_shapes(*(result.shape[:-1] for result in results))
        flat = torch.cat([result.expand(*batch, result.shape[-1]) for result in results], dim=-1)
        return flat[..., self.order]


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    """Rows [q] or [N, q] -> [..., T, q]; rows without a batch axis are the same for all images."""
    return torch.stack(torch.broadcast_tensors(*rows), dim=-2).double()
