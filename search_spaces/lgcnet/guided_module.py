"""The GCN-guided module between adjacent cells, GGM (LGCNet, section III-C, eq. 5-7). Used only while searching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv


class GuidedModule(nn.Module):
    """Carries the architecture parameters of one cell to the next.

    Adj = softmax_rows((alpha_k W1) (alpha'_{k-1} W2)^T), X^0 = Phi1(alpha'_{k-1}), X^1 = Adj X^0 W + X^0,
    alpha'_k = alpha_k + gamma * Phi2(X^1).

    The graph convolution runs on the complete graph with an edge j -> i of weight Adj[i, j].

    Args:
        num_ops: Candidate operations q.
        dim: Width d.
        gamma: Weight of the update.
    """

    def __init__(self, num_ops: int, *, dim: int, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.w1 = nn.Linear(num_ops, dim, bias=False)
        self.w2 = nn.Linear(num_ops, dim, bias=False)
        self.phi1 = nn.Linear(num_ops, dim)
        self.phi2 = nn.Linear(dim, num_ops)
        self.gcn = GCNConv(dim, dim, bias=False, normalize=False, add_self_loops=False)

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
        p = alpha.shape[0]
        adjacency = self.adjacency(alpha, previous)
        target, source = torch.meshgrid(torch.arange(p, device=alpha.device), torch.arange(p, device=alpha.device), indexing="ij")
        edges = torch.stack([source.reshape(-1), target.reshape(-1)])  # [2, p * p], j -> i
        x0 = self.phi1(previous)
        x1 = self.gcn(x0, edges, adjacency.reshape(-1)) + x0  # residual per layer (eq. 7)
        guided: Tensor = alpha + self.gamma * self.phi2(x1)
        return guided


class GuidedChain(nn.Module):
    """One guided module for each adjacent pair of cells, applied along the chain [reading].

    Args:
        groups: Names of the cells' groups, in order.
        num_ops: Candidate operations q.
        dim: Width d.
        gamma: Weight of the update.
    """

    def __init__(self, groups: Sequence[str], num_ops: int, *, dim: int, gamma: float) -> None:
        super().__init__()
        self.groups = tuple(groups)
        self.steps = nn.ModuleList([GuidedModule(num_ops, dim=dim, gamma=gamma) for _ in self.groups[1:]])

    def forward(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Guided logits of the cells, alpha'_0 = alpha_0; other groups pass unchanged. Shapes stay."""
        guided = dict(logits)
        for step, previous, group in zip(self.steps, self.groups, self.groups[1:], strict=False):
            guided[group] = step(logits[group], guided[previous])
        return guided
