"""Mixed operations: how the candidates of a searched node are run and weighted."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.ops import OpSpec, build, out_size
from nas.space.graph import Node
from nas.space.weights import Weights


def per_image(weight: Tensor) -> Tensor:
    """A weight [] or [N] in a shape that multiplies maps [N, C, H, W]."""
    return weight if weight.dim() == 0 else weight.view(-1, 1, 1, 1)


class Mixed(nn.Module):
    """Mixed operation: the candidates of a searched node and their weighted sum; subclasses are the ways to run it.

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, eq. 3, one edge of it: sum_k Z^k O^k(x), k over the candidates. Liu, Simonyan,
    Yang, "DARTS", ICLR 2019, arXiv:1806.09055, have softmax weights in place of Z.

    Args:
        node: A node that depends on one decision.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)], s the stride of the node.
    """

    def __init__(self, node: Node) -> None:
        super().__init__()
        if len(node.decisions) != 1:
            raise ValueError(f"{node.name}: a plain mixed operation depends on one decision, got {node.decisions}")
        self.decision = node.decisions[0]
        self.options = node.option_names[0]
        self.specs: dict[str, OpSpec] = {self.options[index]: spec for (index,), spec in node.specs.items()}
        self.candidates = nn.ModuleDict({name: build(spec) for name, spec in self.specs.items() if spec.kind != "none"})

    def plain_sum(self, weights: Weights, *inputs: Tensor) -> Tensor:
        """sum_k z_k o_k(x) (LGCNet, eq. 3): inputs each [N, C, H, W] -> [N, Cout, ceil(H / stride), ceil(W / stride)].

        A candidate `none` adds nothing and is not run. If the decision was sampled, only the drawn candidate runs; the gradient
        reaches the logits through its weight (Dong, Yang, "Searching for a Robust Neural Architecture in Four GPU Hours", CVPR
        2019, arXiv:1910.04465: GDAS).
        """
        z = weights.values[self.decision]
        drawn = weights.drawn.get(self.decision)
        if drawn is not None:
            name = self.options[drawn]
            return self._zero(name, inputs) if name not in self.candidates else self._weighted(z, drawn, inputs)
        total: Tensor | None = None
        for index, name in enumerate(self.options):
            if name in self.candidates:
                term = self._weighted(z, index, inputs)
                total = term if total is None else total + term
        return self._zero(self.options[0], inputs) if total is None else total

    def _weighted(self, z: Tensor, index: int, inputs: tuple[Tensor, ...]) -> Tensor:
        output: Tensor = self.candidates[self.options[index]](*inputs)
        return per_image(z[..., index]) * output

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """All modules of the candidates as they are now: batch norms may be replaced by those of several processes."""
        return tuple(self.candidates.modules())

    def _zero(self, name: str, inputs: tuple[Tensor, ...]) -> Tensor:
        spec = self.specs[name]
        n, _, height, width = inputs[0].shape
        return inputs[0].new_zeros(n, spec.out_channels, out_size(height, spec.stride), out_size(width, spec.stride))


class MixedOp(Mixed):
    """Mixed operation that runs its candidates one by one: sum_k Z^k O^k(x).

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, eq. 3.

    Args:
        node: A node that depends on one decision.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)], s the stride of the node.
    """

    def forward(self, weights: Weights, *inputs: Tensor) -> Tensor:
        """Inputs each [N, C, H, W] -> [N, Cout, ceil(H / stride), ceil(W / stride)]."""
        return self.plain_sum(weights, *inputs)


class Select(nn.Module):
    """Searched path: sum_i z_i x_i over its inputs, one for each option.

    The relaxation of paths of Liu et al., "Auto-DeepLab: Hierarchical Neural Architecture Search for Semantic Image Segmentation",
    CVPR 2019, arXiv:1901.02985.

    Args:
        node: A node whose decision has one option for each input.

    Shapes:
        q inputs, each [N, C, H, W] -> [N, C, H, W].
    """

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.decision = node.decisions[0]

    def forward(self, weights: Weights, *inputs: Tensor) -> Tensor:
        """Q inputs, each [N, C, H, W] -> [N, C, H, W]."""
        drawn = weights.drawn.get(self.decision)
        z = weights.values[self.decision]
        if drawn is not None:
            return per_image(z[..., drawn]) * inputs[drawn]
        return torch.stack([per_image(z[..., i]) * x for i, x in enumerate(inputs)]).sum(dim=0)


class PerArchitecture(nn.Module):
    """Fixed operation with weights of its own for each architecture set.

    The co-search of a teacher and a student by Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917.

    Args:
        node: A node without decisions.
        architecture_sets: Names of the architecture sets.

    Shapes:
        Those of the operation.
    """

    def __init__(self, node: Node, architecture_sets: tuple[str, ...]) -> None:
        super().__init__()
        self.sets = nn.ModuleDict({name: build(node.spec) for name in architecture_sets})

    def forward(self, weights: Weights, *inputs: Tensor) -> Tensor:
        """As the operation itself, with the modules of the weights' architecture set."""
        output: Tensor = self.sets[weights.architecture](*inputs)
        return output
