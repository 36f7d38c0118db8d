"""Settings of LGCNet: what fits together and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from nas.errors import ConfigError
from search_spaces.lgcnet.config import CELL_OPS, LGCNetConfig
from search_spaces.lgcnet.space import LGCNet


def test_defaults_are_those_of_the_paper() -> None:
    config = LGCNetConfig()
    assert (config.num_cells, config.num_nodes, config.guided_dim, config.gamma) == (14, 2, 64, 0.5)
    assert (config.reduction_cells, config.fused_cells, config.fusion_channels) == ([1, 8], [0, 7, 13], 48)
    assert set(CELL_OPS) == set(config.ops)
    assert len(config.ops) == 8


@pytest.mark.parametrize("fused", [[0, 5, 13], [0, 6, 13], [0, 7, 13], [0, 7, 10], [0, 7, 11], [0, 7, 12]])
def test_the_fusions_that_the_paper_compares_are_accepted(fused: list[int]) -> None:
    space = LGCNet(LGCNetConfig(fused_cells=fused))
    assert space.num_cells == fused[-1] + 1
    assert len(space.choices()) == 5 * space.num_cells + 13


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"communication": "gnc"}, "space.communication: got 'gnc', expected one of none, gcn"),
        ({"head": "aspp5"}, "space.head: got 'aspp5', expected one of none, dcfc"),
        ({"num_cells": 0}, "space.num_cells: got 0"),
        ({"num_nodes": 0}, "space.num_nodes: got 0"),
        ({"guided_dim": 0}, "space.guided_dim: got 0"),
        ({"fusion_channels": 0}, "space.fusion_channels: got 0"),
        ({"ops": ["conv_3x3", "conv_9x9"]}, r"space.ops: got unknown \['conv_9x9'\]"),
        ({"ops": ["conv_3x3", "conv_3x3"]}, "space.ops: .*expected distinct"),
        ({"ops": []}, "space.ops"),
        ({"ops": ["none"]}, "space.ops: got only none"),
        ({"reduction_cells": [1, 14]}, r"space.reduction_cells: got \[14\]"),
        ({"reduction_cells": [-1, 8]}, r"space.reduction_cells: got \[-1\]"),
        ({"reduction_cells": [1, 1, 8]}, "space.reduction_cells: .*expected distinct"),
        ({"fused_cells": [0, 7]}, "space.fused_cells: .*expected three"),
        ({"fused_cells": [0, 7, 14]}, "space.fused_cells: .*below space.num_cells=14"),
        ({"fused_cells": [-1, 7, 13]}, "space.fused_cells"),
        ({"fused_cells": [13, 7, 0]}, r"space.fused_cells: .*at strides \[16, 8, 4\]"),
        ({"fused_cells": [1, 7, 13]}, r"space.fused_cells: .*at strides \[8, 8, 16\]"),
        ({"reduction_cells": [1]}, r"space.fused_cells: .*at strides \[4, 8, 8\]"),
    ],
)
def test_settings_that_make_no_network_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LGCNetConfig(**settings)


def test_without_a_head_the_fused_cells_do_not_matter() -> None:
    space = LGCNet(LGCNetConfig(head="none", fused_cells=[], num_cells=2, reduction_cells=[1]))
    assert space.num_cells == 2
    assert len(space.choices()) == 10
