"""Settings of the LGCNet space; defaults are the paper's, or readings of it (reference: LGCNet, SPEC sections 1-4)."""

from __future__ import annotations

from dataclasses import dataclass, field

from nas.errors import ConfigError
from nas.ops.candidates import CANDIDATE_OPS

CELL_OPS = (
    "max_pool_3x3",
    "skip_connect",
    "conv_3x3",
    "none",
    "sep_conv_3x3",
    "dil_sep_conv_3x3_d2",
    "dil_sep_conv_3x3_d4",
    "dil_sep_conv_3x3_d8",
)
"""Candidates of every edge of a cell (Table II)."""

FUSION_EDGES = (
    "i4->m4",
    "i8->m8",
    "i16->m16",
    "m4->f4",
    "m8->f8",
    "m16->f16",
    "m8->f4 up",
    "m16->f8 up",
    "m4->f8 down",
    "m8->f16 down",
    "f8->out up",
    "f16->out up up",
)
"""Edges of the fusion cell [reading of Figure 5]: `source->target`, then how the size changes: 13 decisions."""


@dataclass(kw_only=True, slots=True)
class LGCNetConfig:
    """The LGCNet search space."""

    name: str = "lgcnet"
    """Name of the space."""
    num_cells: int = 14
    """Cells in sequence (paper: 14)."""
    reduction_cells: list[int] = field(default_factory=lambda: [1, 8])
    """Cells whose edges from the input nodes have stride 2 and that double the channels [reading]."""
    num_nodes: int = 2
    """Intermediate nodes of a cell (paper: 2)."""
    ops: list[str] = field(default_factory=lambda: list(CELL_OPS))
    """Candidate operations of an edge (paper: 8)."""
    communication: str = "gcn"
    """none, or gcn: the GCN-guided module between adjacent cells (eq. 5-7)."""
    guided_dim: int = 64
    """Width d of the GCN-guided module (paper: 64)."""
    gamma: float = 0.5
    """Weight of the guided update (paper: 0.5)."""
    head: str = "dcfc"
    """none, or dcfc: the dense-connected fusion cell."""
    fused_cells: list[int] = field(default_factory=lambda: [0, 7, 13])
    """Cells whose outputs the fusion cell reads, at strides 4, 8 and 16 (paper: 0, 7, 13)."""
    fusion_channels: int = 48
    """Channels of the fusion cell (paper: 48)."""
    fusion_edges: list[str] = field(default_factory=lambda: list(FUSION_EDGES))
    """Edges of the fusion cell [reading]."""

    def __post_init__(self) -> None:
        """Check what the settings say of each other."""
        _one_of("space.communication", self.communication, ("none", "gcn"))
        _one_of("space.head", self.head, ("none", "dcfc"))
        _check(self.num_cells >= 1, f"space.num_cells: got {self.num_cells}, expected at least 1")
        _check(self.num_nodes >= 1, f"space.num_nodes: got {self.num_nodes}, expected at least 1")
        _check(self.guided_dim >= 1, f"space.guided_dim: got {self.guided_dim}, expected at least 1")
        unknown = [op for op in self.ops if op not in CANDIDATE_OPS]
        _check(not unknown, f"space.ops: got unknown {unknown}, expected some of {', '.join(CANDIDATE_OPS)}")
        _check(len(set(self.ops)) == len(self.ops) >= 1, f"space.ops: got {self.ops}, expected distinct operations")
        _check(set(self.ops) != {"none"}, "space.ops: got only none, expected an operation beside it")
        outside = [cell for cell in self.reduction_cells if not 0 <= cell < self.num_cells]
        _check(
            not outside,
            f"space.reduction_cells: got {outside}, expected numbers below space.num_cells={self.num_cells}",
        )
        distinct = len(set(self.reduction_cells)) == len(self.reduction_cells)
        _check(distinct, f"space.reduction_cells: got {self.reduction_cells}, expected distinct cells")
        _check(self.fusion_channels >= 1, f"space.fusion_channels: got {self.fusion_channels}, expected at least 1")
        if self.head == "dcfc":
            self._check_fused()

    def _check_fused(self) -> None:
        fused = self.fused_cells
        _check(
            len(fused) == 3 and all(0 <= cell < self.num_cells for cell in fused),
            f"space.fused_cells: got {fused}, expected three cells below space.num_cells={self.num_cells}",
        )
        strides = [4 * 2 ** sum(r <= cell for r in self.reduction_cells) for cell in fused]
        _check(
            strides == [4, 8, 16],
            f"space.fused_cells: got {fused} at strides {strides}, expected cells at strides 4, 8, 16 in this order",
        )


def _check(condition: bool, message: str) -> None:  # noqa: FBT001
    if not condition:
        raise ConfigError(message)


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    _check(value in allowed, f"{key}: got {value!r}, expected one of {', '.join(allowed)}")
