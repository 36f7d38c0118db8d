"""Communication between adjacent cells: the GCN-guided module, GGM, and the paper's alternatives.

Cheng et al., LGCNet, 2023, arXiv:2302.08481, section III-C, eq. 5 to 7. Used only while searching; the derived network does not
know them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv


class GuidedModule(nn.Module):
    """GCN-guided module: carries the architecture parameters of one cell to the next; each edge of a cell is a node of the graph.

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, section III-C,

        alpha'_k = alpha_k + gamma Phi2(X^1)                          (eq. 5)
        Adj = softmax_rows((alpha_k W1) (alpha'_{k-1} W2)^T)          (eq. 6)
        X^1 = Adj X^0 W + X^0, X^0 = Phi1(alpha'_{k-1})               (eq. 7)

    with the graph convolution of Kipf, Welling, "Semi-Supervised Classification with Graph Convolutional Networks", ICLR 2017,
    arXiv:1609.02907. That alpha'_{k-1} is already guided is [reading].

    Args:
        num_ops: Candidate operations q.
        dim: Width d.
        gamma: Weight of the update.

    Shapes:
        alpha_k [p, q], alpha'_{k-1} [p, q] -> alpha'_k [p, q].
    """

    def __init__(self, num_ops: int, *, dim: int, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.w1 = nn.Linear(num_ops, dim, bias=False)
        self.w2 = nn.Linear(num_ops, dim, bias=False)
        self.phi1 = nn.Linear(num_ops, dim)
        self.phi2 = nn.Linear(dim, num_ops)
        self.gcn = _graph_convolution(dim)

    def adjacency(self, alpha: Tensor, previous: Tensor) -> Tensor:
        """Similarity of the edges of two cells (eq. 6).

        Args:
            alpha: alpha_k, [p, q].
            previous: alpha'_{k-1}, [p, q].

        Returns:
            [p, p]; each row sums to 1.
        """
        return torch.softmax(self.w1(alpha) @ self.w2(previous).transpose(-1, -2), dim=-1)

    def forward(self, alpha: Tensor, previous: Tensor) -> Tensor:
        """alpha_k [p, q] and alpha'_{k-1} [p, q] -> alpha'_k [p, q] (eq. 5)."""
        x0 = self.phi1(previous)
        x1 = _convolve(self.gcn, x0, self.adjacency(alpha, previous)) + x0  # residual per layer (eq. 7)
        guided: Tensor = alpha + self.gamma * self.phi2(x1)
        return guided


class OperationIdentityModule(nn.Module):
    """Reasoning graph `operation-identity`: each candidate operation of each edge is a node.

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, section IV-C and Table IX. With a_k = vec(alpha_k) of length p q in row-major
    order,

        Adj = softmax_rows(a_k a'_{k-1}^T), X^0 = Phi1(a'_{k-1}), X^1 = Adj X^0 W + X^0, a'_k = a_k + gamma Phi2(X^1)

    The paper states the flattening and the product; Phi1: 1 -> d, Phi2: d -> 1, the softmax over rows and the absence of W1 and W2
    are [reading].

    Args:
        num_ops: Candidate operations q; the parameters do not depend on it.
        dim: Width d.
        gamma: Weight of the update.

    Shapes:
        alpha_k [p, q], alpha'_{k-1} [p, q] -> alpha'_k [p, q].
    """

    def __init__(self, num_ops: int, *, dim: int, gamma: float) -> None:
        del num_ops
        super().__init__()
        self.gamma = gamma
        self.phi1 = nn.Linear(1, dim)
        self.phi2 = nn.Linear(dim, 1)
        self.gcn = _graph_convolution(dim)

    def adjacency(self, alpha: Tensor, previous: Tensor) -> Tensor:
        """Softmax over rows of the outer product: alpha_k [p, q], alpha'_{k-1} [p, q] -> [p * q, p * q]."""
        return torch.softmax(torch.outer(alpha.reshape(-1), previous.reshape(-1)), dim=-1)

    def forward(self, alpha: Tensor, previous: Tensor) -> Tensor:
        """alpha_k [p, q] and alpha'_{k-1} [p, q] -> alpha'_k [p, q]."""
        x0 = self.phi1(previous.reshape(-1, 1))
        x1 = _convolve(self.gcn, x0, self.adjacency(alpha, previous)) + x0
        guided: Tensor = alpha + self.gamma * self.phi2(x1).reshape(alpha.shape)
        return guided


class FullyConnectedModule(nn.Module):
    """Fully connected layer in place of the graph convolution: no edge sees another one.

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, section IV-C, strategy c of Table VI. Its form is [reading]:
    X^0 = Phi1(alpha'_{k-1}), X^1 = X^0 W + b + X^0, alpha'_k = alpha_k + gamma Phi2(X^1).

    Args:
        num_ops: Candidate operations q.
        dim: Width d.
        gamma: Weight of the update.

    Shapes:
        alpha_k [p, q], alpha'_{k-1} [p, q] -> alpha'_k [p, q].
    """

    def __init__(self, num_ops: int, *, dim: int, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.phi1 = nn.Linear(num_ops, dim)
        self.fc = nn.Linear(dim, dim)
        self.phi2 = nn.Linear(dim, num_ops)

    def forward(self, alpha: Tensor, previous: Tensor) -> Tensor:
        """alpha_k [p, q] and alpha'_{k-1} [p, q] -> alpha'_k [p, q]."""
        x0 = self.phi1(previous)
        guided: Tensor = alpha + self.gamma * self.phi2(self.fc(x0) + x0)
        return guided


MODULES: dict[tuple[str, str], Callable[..., nn.Module]] = {
    ("gcn", "edge_similarity"): GuidedModule,
    ("gcn", "operation_identity"): OperationIdentityModule,
    ("fc", "edge_similarity"): FullyConnectedModule,
}
"""(communication, reasoning) -> module of one pair of cells."""


class GuidedChain(nn.Module):
    """Chain of modules, one for each adjacent pair of cells: alpha'_0 = alpha_0, alpha'_k from alpha_k and alpha'_{k-1}.

    Cheng et al., LGCNet, 2023, arXiv:2302.08481, section IV-A: one graph convolutional network between two adjacent cells. That
    each pair has its own weights is [reading].

    Args:
        groups: Names of the cells' groups, in order.
        make: Makes the module of one pair: (alpha_k [p, q], alpha'_{k-1} [p, q]) -> alpha'_k [p, q].

    Shapes:
        Group -> [p, q], the same before and after.
    """

    def __init__(self, groups: Sequence[str], make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.groups = tuple(groups)
        self.steps = nn.ModuleList([make() for _ in self.groups[1:]])

    def start_neutral(self) -> None:
        """Set Phi2 of each module to zero: the chain changes no logits until it has learned."""
        for name, parameter in self.named_parameters():
            if "phi2" in name:
                nn.init.zeros_(parameter)

    def forward(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Guided logits of the cells, alpha'_0 = alpha_0; other groups pass unchanged. Shapes stay."""
        guided = dict(logits)
        for step, previous, group in zip(self.steps, self.groups, self.groups[1:], strict=False):
            guided[group] = step(logits[group], guided[previous])
        return guided


def _graph_convolution(dim: int) -> GCNConv:
    return GCNConv(dim, dim, bias=False, normalize=False, add_self_loops=False)


def _convolve(gcn: GCNConv, x: Tensor, adjacency: Tensor) -> Tensor:
    """Adj X W by the complete graph with an edge j -> i of weight Adj[i, j]: [n, d], [n, n] -> [n, d]."""
    n = torch.arange(x.shape[0], device=x.device)
    target, source = torch.meshgrid(n, n, indexing="ij")
    edges = torch.stack([source.reshape(-1), target.reshape(-1)])  # [2, n * n]
    convolved: Tensor = gcn(x, edges, adjacency.reshape(-1))
    return convolved
