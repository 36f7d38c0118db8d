"""Settings of the LGCNet space; defaults are the paper's (arXiv:2302.08481), or readings of it that the README lists."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields

from nas.errors import ConfigError
from nas.files.value_text import value_text
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


MSCELL_EDGES = (
    "i8->m8",
    "i16->m16",
    "m8->f8",
    "m16->f16",
    "m16->f8 up",
    "m8->f16 down",
    "f16->out up",
)
"""Edges of CAS's multi-scale cell [reading]: the stride-8 and stride-16 half of the fusion cell; its output has stride 8."""

FUSION_OPS = (
    "conv_1x1",
    "conv_3x3",
    "sep_conv_3x3",
    "dil_sep_conv_3x3_d2",
    "dil_sep_conv_3x3_d4",
    "dil_sep_conv_3x3_d8",
    "dil_sep_conv_3x3_d12",
    "global_pool_1x1",
    "global_pool_2x2",
    "global_pool_5x5",
)
"""Candidates of a fusion edge (Table III)."""

UP_OPS = ("transposed_conv", "interpolate")
"""Candidates of an edge marked Up2."""

SEARCHED_HEADS = {"dcfc": (4, 8, 16), "mscell": (8, 16)}
"""Heads that are searched, and the strides of the cells that they read."""

MAX_CELLS = 64
MAX_NODES = 8


@dataclass(kw_only=True, slots=True)
class LGCNetConfig:
    """The LGCNet search space."""

    name: str = "lgcnet"
    """Name of the space."""
    cells: str = "independent"
    """independent: each cell has decisions of its own (paper); shared: all normal cells share theirs, all reduction cells share
    theirs (Table VI a). Weights are never shared."""
    num_cells: int = 14
    """Cells in sequence (paper: 14)."""
    reduction_cells: list[int] = field(default_factory=lambda: [1, 8])
    """Cells whose edges from the input nodes have stride 2 and that double the channels [reading]."""
    num_nodes: int = 2
    """Intermediate nodes of a cell (paper: 2)."""
    ops: list[str] = field(default_factory=lambda: list(CELL_OPS))
    """Candidate operations of an edge (paper: 8); leave out what the target's runtime lacks."""
    communication: str = "gcn"
    """Between adjacent cells: none, fc (a fully connected layer, Table VI c) or gcn (the GCN-guided module, eq. 5-7)."""
    reasoning: str = "edge_similarity"
    """Graph of the guided module: edge_similarity (paper) or operation_identity (Table IX)."""
    guided_dim: int = 64
    """Width d of the module between cells (paper: 64; Table VIII: 16 to 256)."""
    gamma: float = 0.5
    """Weight of the guided update (paper: 0.5)."""
    head: str = "dcfc"
    """none, aspp (DeepLabV3), ppm (PSPNet), mscell (CAS) or dcfc, the dense-connected fusion cell (paper)."""
    head_channels: int = 48
    """Channels of the head (paper: 48)."""
    fused_cells: list[int] = field(default_factory=lambda: [0, 7, 13])
    """Cells that a searched head reads, at strides 4, 8 and 16 (paper: 0, 7, 13; Table XI); mscell reads the last two."""
    fusion_edges: list[str] | None = None
    """Edges of the fusion cell; null: those of the head [reading]."""
    fusion_ops: list[str] = field(default_factory=lambda: list(FUSION_OPS))
    """Candidate operations of an edge of the fusion cell (paper: 10)."""
    up_ops: list[str] = field(default_factory=lambda: list(UP_OPS))
    """Candidate operations of an edge of the fusion cell that doubles the size (paper: 2)."""
    aspp_rates: list[int] = field(default_factory=lambda: [6, 12, 18])
    """Dilations of ASPP [reading]."""
    ppm_bins: list[int] = field(default_factory=lambda: [1, 2, 3, 6])
    """Bins a side of each level of PPM [reading]."""

    def __post_init__(self) -> None:
        """Check what the settings say of each other."""
        _one_of("space.cells", self.cells, ("independent", "shared"))
        _one_of("space.communication", self.communication, ("none", "fc", "gcn"))
        _one_of("space.reasoning", self.reasoning, ("edge_similarity", "operation_identity"))
        _one_of("space.head", self.head, ("none", "aspp", "ppm", *SEARCHED_HEADS))
        for key, most in (("num_cells", MAX_CELLS), ("num_nodes", MAX_NODES), ("guided_dim", 4096), ("head_channels", 4096)):
            value = getattr(self, key)
            _check(1 <= value <= most, f"space.{key}: got {value}, expected 1 to {most}")
        _check(0 <= self.gamma < float("inf"), f"space.gamma: got {self.gamma}, expected a number from 0")
        self._check_candidates()
        self._check_cells()
        self._check_unused()
        if self.head in SEARCHED_HEADS:
            self._check_fused()

    def edges(self) -> tuple[str, ...]:
        """Edges of the fusion cell, given or the head's own."""
        if self.fusion_edges is not None:
            return tuple(self.fusion_edges)
        return {"dcfc": FUSION_EDGES, "mscell": MSCELL_EDGES}.get(self.head, ())

    def read_cells(self) -> dict[int, int]:
        """Stride -> cell that a searched head reads there."""
        wanted = SEARCHED_HEADS.get(self.head)
        if wanted is None:
            return {}
        return {stride: cell for stride, cell in zip((4, 8, 16), self.fused_cells, strict=True) if stride in wanted}

    def _check_candidates(self) -> None:
        for key, known in (("ops", tuple(CANDIDATE_OPS)), ("fusion_ops", FUSION_OPS), ("up_ops", UP_OPS)):
            names = getattr(self, key)
            unknown = [name for name in names if name not in known]
            _check(not unknown, f"space.{key}: got unknown {value_text(unknown)}, expected some of {', '.join(known)}")
            _check(
                len(set(names)) == len(names) >= 1,
                f"space.{key}: got {value_text(names)}, expected distinct operations, at least one",
            )
        _check(set(self.ops) != {"none"}, "space.ops: got only none, expected an operation beside it")
        edges = self.fusion_edges  # OmegaConf does not look into a list that may be null
        _check(
            edges is None or all(isinstance(edge, str) for edge in edges),
            f"space.fusion_edges: got {value_text(edges)}, expected a list of texts like 'm8->f4 up'",
        )
        for key in ("aspp_rates", "ppm_bins"):
            values = getattr(self, key)
            good = len(values) >= 1 and len(set(values)) == len(values) and min(values) >= 1
            _check(good, f"space.{key}: got {value_text(values)}, expected distinct numbers from 1")

    def _check_cells(self) -> None:
        outside = [cell for cell in self.reduction_cells if not 0 <= cell < self.num_cells]
        _check(
            not outside,
            f"space.reduction_cells: got {value_text(outside)}, expected numbers below space.num_cells={self.num_cells}",
        )
        distinct = len(set(self.reduction_cells)) == len(self.reduction_cells)
        _check(distinct, f"space.reduction_cells: got {value_text(self.reduction_cells)}, expected distinct cells")

    def _check_unused(self) -> None:
        """Refuse what would have no meaning under the other settings; plain sizes of absent parts are let pass, for sweeps."""
        shared = self.cells == "shared" and self.communication != "none"
        _check(
            not shared,
            f"space.communication: got {self.communication} with space.cells=shared, expected none: "
            "cells that share their decisions have nothing to tell each other",
        )
        needs = {
            "reasoning": ("communication", ("gcn",)),
            "fusion_edges": ("head", tuple(SEARCHED_HEADS)),
            "fusion_ops": ("head", tuple(SEARCHED_HEADS)),
            "up_ops": ("head", tuple(SEARCHED_HEADS)),
            "aspp_rates": ("head", ("aspp",)),
            "ppm_bins": ("head", ("ppm",)),
        }
        for key, (other, allowed) in needs.items():
            have = getattr(self, other)
            _check(
                have in allowed or getattr(self, key) == _default(type(self), key),
                f"space.{key}: got {value_text(getattr(self, key))} with space.{other}={have}, where it has no effect; "
                f"leave it out, or choose space.{other} from {', '.join(allowed)}",
            )

    def _check_fused(self) -> None:
        fused = self.fused_cells
        _check(
            len(fused) == 3 and all(0 <= cell < self.num_cells for cell in fused),
            f"space.fused_cells: got {value_text(fused)}, expected three cells below space.num_cells={self.num_cells}",
        )
        strides = [4 * 2 ** sum(r <= cell for r in self.reduction_cells) for cell in fused]
        _check(
            strides == [4, 8, 16],
            f"space.fused_cells: got {value_text(fused)} at strides {value_text(strides)}, expected cells at strides 4, 8, 16 "
            "in this order",
        )


@dataclass(kw_only=True, slots=True)
class GASConfig(LGCNetConfig):
    """GAS (Lin et al., CVPR 2020): LGCNet's cells and guided module under ASPP.

    Lin et al., "Graph-Guided Architecture Search for Real-Time Semantic Segmentation", CVPR 2020, arXiv:1909.06793.
    """

    name: str = "gas"
    """Name of the space."""
    head: str = "aspp"
    """none, aspp (GAS), ppm, mscell or dcfc."""


@dataclass(kw_only=True, slots=True)
class CASConfig(LGCNetConfig):
    """CAS (Zhang et al., CVPR 2019) as LGCNet describes it: shared cells, the multi-scale cell as head [reading].

    Zhang et al., "Customizable Architecture Search for Semantic Segmentation", CVPR 2019.
    """

    name: str = "cas"
    """Name of the space."""
    cells: str = "shared"
    """independent or shared (CAS)."""
    communication: str = "none"
    """none (CAS), fc or gcn."""
    head: str = "mscell"
    """none, aspp, ppm, mscell (CAS) or dcfc."""


@dataclass(kw_only=True, slots=True)
class MiniConfig(LGCNetConfig):
    """A small space of LGCNet's family, 512 architectures of 320 networks, all of them trained (experiments/mini)."""

    name: str = "mini"
    """Name of the space."""
    num_cells: int = 3
    """Cells in sequence (lgcnet: 14)."""
    reduction_cells: list[int] = field(default_factory=lambda: [1, 2])
    """Cells whose edges from the input nodes have stride 2 and that double the channels."""
    num_nodes: int = 1
    """Intermediate nodes of a cell (lgcnet: 2)."""
    ops: list[str] = field(default_factory=lambda: ["none", "skip_connect", "conv_3x3"])
    """Candidate operations of an edge (lgcnet: 8)."""
    head_channels: int = 16
    """Channels of the head (lgcnet: 48)."""
    fused_cells: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Cells that the fusion cell reads, at strides 4, 8 and 16: all."""
    fusion_edges: list[str] | None = field(default_factory=lambda: ["i4->f4", "i8->f8", "i16->f16", "f8->out up", "f16->out up up"])
    """Edges of the fusion cell: each map is projected, and their sum is read at stride 4."""
    fusion_ops: list[str] = field(default_factory=lambda: ["conv_1x1"])
    """The operation of an edge of the fusion cell: one, so that nothing is decided there."""
    up_ops: list[str] = field(default_factory=lambda: ["interpolate"])
    """The operation of an edge of the fusion cell that doubles the size: one."""


def _default(config: type, key: str) -> object:
    """The default of a field."""
    entry = {entry.name: entry for entry in fields(config)}[key]
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def _check(condition: bool, message: str) -> None:  # noqa: FBT001
    if not condition:
        raise ConfigError(message)


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    _check(value in allowed, f"{key}: got {value!r}, expected one of {', '.join(allowed)}")
