"""`fused` execution: the mixed operations that read the same map are run together, with few passes over activations.

The mathematics are those of the plain sum; what changes is where the work is done:

- ReLU, max pooling and the grids of pooling are made once for all edges; the convolutions of one candidate on all edges are one
  convolution with their weights side by side.
- There is no batch norm or ReLU between the depthwise and the 1x1 convolution of a separable one. In narrow maps the two are
  multiplied into one dense convolution, whose intermediate maps need not exist.
- The weight of a candidate scales gamma and beta of its batch norm, so that a weighted candidate costs no pass of its own.
- Resizing a grid of bins is a matrix product with the grids of all bin counts side by side.
- Everything runs with channels last, in which PyTorch's CPU kernels for pooling, batch norm and depthwise convolutions are
  several times faster.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.network.mixed import Mixed
from nas.network.widened import DENSE_CHANNELS, NORMED, Source, Term, maps_before_norm, source_of
from nas.ops import out_size
from nas.ops.modules import GridPool
from nas.space.graph import Graph, Node
from nas.space.weights import Weights

FUSABLE = frozenset({"none", "identity", "max_pool", "grid_pool", *NORMED})
"""Kinds of operations that can be run together. A mixed operation with any other candidate is run as the plain sum."""


def fusable(node: Node) -> bool:
    """Whether a node can be run by `run_fused`: a plain mixed operation of one input with candidates of `FUSABLE` kinds."""
    plain = node.role == "mixed" and node.factory is None and len(node.decisions) == 1 and len(node.inputs) == 1
    specs = node.specs.values()
    alike = len({(spec.in_channels, spec.out_channels, spec.stride) for spec in specs}) == 1
    return (
        plain
        and alike
        and all(spec.kind in FUSABLE and spec.groups == 1 and not (spec.stride_width or spec.kernel_width) for spec in specs)
    )


def fused_groups(graph: Graph) -> tuple[tuple[int, ...], ...]:
    """Numbers of the nodes to run together: those that read the same map and choose from the same operations.

    A node that shares its module with another is left out: a module that runs twice counts twice in its batch-norm statistics.
    """
    users: dict[str, int] = {}
    for node in graph.nodes:
        users[node.module] = users.get(node.module, 0) + 1
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, node in enumerate(graph.nodes):
        if fusable(node) and users[node.module] == 1:
            groups.setdefault((node.inputs, node.option_names, tuple(node.specs.items())), []).append(index)
    return tuple(tuple(group) for group in groups.values())


def can_fuse(ops: Sequence[Mixed], weights: Weights) -> bool:
    """Whether mixed operations run together in this pass.

    Not where a decision was drawn, for then one candidate runs alone; not where somebody listens to a candidate by a hook; not
    where batch norms of one candidate are in different modes, average over all batches (momentum None), or take their statistics
    from several processes.
    """
    if any(op.decision in weights.drawn for op in ops):
        return False
    if any(module._forward_hooks or module._forward_pre_hooks for op in ops for module in op.parts):
        return False
    norms = [module for op in ops for module in op.parts if isinstance(module, nn.BatchNorm2d)]
    if any(type(norm) is not nn.BatchNorm2d for norm in norms):
        return False
    return len({(norm.training, norm.momentum, norm.eps) for norm in norms}) <= 1 and all(n.momentum is not None for n in norms)


def run_fused(ops: Sequence[Mixed], weights: Weights, x: Tensor) -> list[Tensor]:
    """The values of mixed operations that read the same map and have the same candidates.

    Args:
        ops: The mixed operations, E of them.
        weights: z of their decisions, [q] or [N, q].
        x: [N, Cin, H, W].

    Returns:
        E maps [N, Cout, ceil(H / stride), ceil(W / stride)].
    """
    x = x.contiguous(memory_format=torch.channels_last)
    specs = ops[0].specs
    some = next(iter(specs.values()))
    size = out_size(x.shape[2], some.stride), out_size(x.shape[3], some.stride)
    normed = any(spec.kind in NORMED for spec in specs.values())
    source = source_of(functional.relu(x), some.stride) if normed else source_of(x, 1)
    grids = {s.kernel: functional.adaptive_avg_pool2d(x, s.kernel) for s in specs.values() if s.kind == "grid_pool"}
    maps = _shared_maps(ops[0], x)
    values: list[Tensor] = []
    for part in [[op] for op in ops] if some.in_channels > DENSE_CHANNELS else [list(ops)]:
        z = _stacked([weights.values[op.decision] for op in part])
        total = _normed_sum(part, source, z)
        if grids:
            total = _with_grids(part, grids, z, total=total, size=size)
        edges: Sequence[Tensor | None] = [None] * len(part) if total is None else total.split(some.out_channels, dim=1)
        for e, edge in enumerate(edges):
            value = _with_maps(edge, maps, z[..., e, :])
            values.append(x.new_zeros(len(x), some.out_channels, *size) if value is None else value)
    return values


def _stacked(z: Sequence[Tensor]) -> Tensor:
    """E weights, each [q] or [N, q] -> [E, q], or [N, E, q] if some belong to single images."""
    return torch.stack(torch.broadcast_tensors(*z), dim=-2)


def _terms(ops: Sequence[Mixed], kinds: Collection[str]) -> list[Term]:
    """The candidates of some kinds on all edges."""
    named = [(i, name, ops[0].specs[name]) for i, name in enumerate(ops[0].options)]
    return [Term(i, spec, [op.candidates[name] for op in ops]) for i, name, spec in named if spec.kind in kinds]


def _normed_sum(ops: Sequence[Mixed], source: Source, z: Tensor) -> Tensor | None:
    """The weighted candidates that end in a batch norm: [N, E * Cout, H', W'], or None if there are none.

    Args:
        ops: E mixed operations.
        source: What they read.
        z: [E, q], or [N, E, q].
    """
    terms = _terms(ops, NORMED)
    if not terms:
        return None
    norms = [norm for term in terms for module in term.modules if isinstance(norm := module.bn, nn.BatchNorm2d)]
    batch_norms = _BatchNorms(norms, z[..., [term.option for term in terms]].transpose(-1, -2))
    total: Tensor | None = None
    for number, maps in enumerate(maps_before_norm(terms, source)):
        weighted = batch_norms(number, maps)
        total = weighted if total is None else total.add_(weighted)
    batch_norms.keep_statistics()
    return total


class _BatchNorms:
    """Batch norms of T candidates on E edges, C channels each, times their weights: z BN(x) = (z gamma) x^ + z beta.

    x^ is the normalised map of Ioffe, Szegedy, "Batch Normalization", ICML 2015, arXiv:1502.03167. All batch norms are in one mode.

    Args:
        norms: The T * E batch norms, those of one candidate in a row.
        z: [T, E], or [N, T, E].

    Shapes:
        Of one candidate, [N, E * C, H, W] -> [N, E * C, H, W].
    """

    def __init__(self, norms: Sequence[nn.BatchNorm2d], z: Tensor) -> None:
        self.norms, self.first = norms, norms[0]
        shape = (*z.shape[-2:], self.first.num_features)
        gamma = torch.stack([norm.weight for norm in norms]).view(shape)
        beta = torch.stack([norm.bias for norm in norms]).view(shape)
        self.scale: Tensor | None = None
        if z.dim() == 2:
            gamma, beta = gamma * z[..., None], beta * z[..., None]
        else:
            self.scale = z.repeat_interleave(shape[-1], dim=-1)  # [N, T, E * C]
        self.gamma, self.beta = gamma.flatten(1).unbind(), beta.flatten(1).unbind()
        self.mean = torch.stack([_present(norm.running_mean) for norm in norms])
        self.variance = torch.stack([_present(norm.running_var) for norm in norms])
        self.statistics = [s.view(shape).flatten(1).unbind() for s in (self.mean, self.variance)]

    def __call__(self, number: int, x: Tensor) -> Tensor:
        """The weighted batch norms of one candidate: [N, E * C, H, W] -> the same."""
        momentum = self.first.momentum
        assert momentum is not None  # can_fuse
        mean, variance = (statistic[number] for statistic in self.statistics)
        y = functional.batch_norm(
            x,
            mean,
            variance,
            self.gamma[number],
            self.beta[number],
            training=self.first.training,
            momentum=momentum,
            eps=self.first.eps,
        )
        return y if self.scale is None else y * self.scale[:, number, :, None, None]

    def keep_statistics(self) -> None:
        """Write the running statistics back to where they belong, once all candidates were run."""
        if self.first.training:
            with torch.no_grad():
                torch._foreach_copy_([_present(norm.running_mean) for norm in self.norms], self.mean.unbind())
                torch._foreach_copy_([_present(norm.running_var) for norm in self.norms], self.variance.unbind())
                torch._foreach_add_([_present(norm.num_batches_tracked) for norm in self.norms], 1)


def _present(tensor: Tensor | None) -> Tensor:
    assert tensor is not None  # the batch norms of the operations keep statistics, the convolutions of grids have a bias
    return tensor


def _with_grids(
    ops: Sequence[Mixed], grids: Mapping[int, Tensor], z: Tensor, *, total: Tensor | None, size: tuple[int, int]
) -> Tensor:
    """Add the weighted grid pools: 1x1 convolution of each grid, then one product with the resizing matrices of all grids.

    Args:
        ops: E mixed operations.
        grids: Bins a side -> pooled map [N, Cin, bins, bins].
        z: [E, q], or [N, E, q].
        total: [N, E * Cout, H', W'] to add to; None: nothing is there yet.
        size: (H', W').
    """
    bins, resizing = [], []
    for option, spec, modules in _terms(ops, ("grid_pool",)):
        convs = [module.conv for module in modules if isinstance(module, GridPool)]
        weight, bias = torch.cat([conv.weight for conv in convs]), torch.cat([_present(conv.bias) for conv in convs])
        scale = z[..., option].repeat_interleave(spec.out_channels, dim=-1)
        projected = functional.conv2d(grids[spec.kernel], weight, bias) * scale[..., None, None]
        bins.append(projected.flatten(2).transpose(1, 2))  # [N, bins^2, E * Cout]
        resizing.append(resizing_matrix(spec.kernel, size, like=projected))
    left, right = torch.cat(resizing, dim=1).expand(len(bins[0]), -1, -1), torch.cat(bins, dim=1)
    n, _, channels = right.shape
    if total is None:
        pixels = torch.bmm(left, right)
    else:
        pixels = torch.baddbmm(total.permute(0, 2, 3, 1).reshape(n, -1, channels), left, right)
    return pixels.view(n, *size, channels).permute(0, 3, 1, 2)


def resizing_matrix(bins: int, size: tuple[int, int], *, like: Tensor) -> Tensor:
    """Bilinear resizing (align_corners False) of a grid as a matrix: [H * W, bins^2], the product of those of rows and columns.

    Args:
        bins: Bins a side.
        size: (H, W) to resize to.
        like: Gives type and device.
    """
    unit = torch.eye(bins, dtype=like.dtype, device=like.device)
    rows, columns = (functional.interpolate(unit[None], size=side, mode="linear", align_corners=False)[0] for side in size)
    return torch.einsum("ah,bw->hwab", rows, columns).reshape(size[0] * size[1], bins * bins)


def _shared_maps(op: Mixed, x: Tensor) -> list[tuple[int, Tensor]]:
    """(index of the option, map) of candidates without weights, the same on all edges."""
    maps = []
    for index, spec in enumerate(op.specs[name] for name in op.options):
        if spec.kind == "identity":
            maps.append((index, x))
        elif spec.kind == "max_pool":
            maps.append((index, functional.max_pool2d(x, spec.kernel, spec.stride, padding=spec.kernel // 2)))
    return maps


def _with_maps(total: Tensor | None, maps: Sequence[tuple[int, Tensor]], z: Tensor) -> Tensor | None:
    """Add the weighted maps without weights of their own to the value of one edge; z is [q] or [N, q]."""
    for index, shared in maps:
        scale = z[..., index] if z.dim() == 1 else z[..., index].view(-1, 1, 1, 1)
        total = scale * shared if total is None else torch.addcmul(total, scale, shared)
    return total


class FusedOp(Mixed):
    """Mixed operation with fewer passes over activations; a `Network` runs several of them together.

    The sum is that of Cheng et al., LGCNet, 2023, arXiv:2302.08481, eq. 3; the order of its parts differs (see the module).

    Args:
        node: A node that depends on one decision.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)], s the stride of the node.
    """

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.fusable = fusable(node)

    def forward(self, weights: Weights, *inputs: Tensor) -> Tensor:
        """Inputs each [N, C, H, W] -> [N, Cout, ceil(H / stride), ceil(W / stride)]."""
        if self.fusable and can_fuse((self,), weights):
            return run_fused((self,), weights, *inputs)[0]
        return self.plain_sum(weights, *inputs)
