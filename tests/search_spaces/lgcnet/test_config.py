"""Settings of LGCNet: what fits together and what is refused."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from nas.errors import ConfigError
from search_spaces.lgcnet.config import CELL_OPS, CASConfig, GASConfig, LGCNetConfig, MiniConfig
from search_spaces.lgcnet.space import LGCNet


def test_defaults_are_those_of_the_paper() -> None:
    config = LGCNetConfig()
    assert (config.num_cells, config.num_nodes, config.guided_dim, config.gamma) == (14, 2, 64, 0.5)
    assert (config.reduction_cells, config.fused_cells, config.head_channels) == ([1, 8], [0, 7, 13], 48)
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
        ({"communication": "gnc"}, "space.communication: got 'gnc', expected one of none, fc, gcn"),
        ({"head": "aspp5"}, "space.head: got 'aspp5', expected one of none, aspp, ppm, dcfc, mscell"),
        ({"num_cells": 0}, "space.num_cells: got 0"),
        ({"num_nodes": 0}, "space.num_nodes: got 0"),
        ({"guided_dim": 0}, "space.guided_dim: got 0"),
        ({"head_channels": 0}, "space.head_channels: got 0"),
        ({"ops": ["conv_3x3", "conv_9x9"]}, r"space.ops: got unknown \[conv_9x9\]"),
        ({"ops": ["conv_3x3", "conv_3x3"]}, "space.ops: .*expected distinct"),
        ({"ops": []}, "space.ops"),
        ({"ops": ["none"]}, "space.ops: got only none"),
        ({"reduction_cells": [1, 14]}, r"space.reduction_cells: got \[14\]"),
        ({"reduction_cells": [-1, 8]}, r"space.reduction_cells: got \[-1\]"),
        ({"reduction_cells": [1, 1, 8]}, "space.reduction_cells: .*expected distinct"),
        ({"fused_cells": [0, 7]}, "space.fused_cells: .*expected three"),
        ({"fused_cells": [0, 7, 14]}, "space.fused_cells: .*below space.num_cells=14"),
        ({"fused_cells": [-1, 7, 13]}, "space.fused_cells"),
        ({"fused_cells": [13, 7, 0]}, r"space.fused_cells: .*at strides \[16,8,4\]"),
        ({"fused_cells": [1, 7, 13]}, r"space.fused_cells: .*at strides \[8,8,16\]"),
        ({"reduction_cells": [1]}, r"space.fused_cells: .*at strides \[4,8,8\]"),
    ],
)
def test_settings_that_make_no_network_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LGCNetConfig(**settings)


def test_without_a_head_there_are_only_cells_and_sizes_of_absent_parts_do_not_matter() -> None:
    space = LGCNet(LGCNetConfig(head="none", num_cells=2, reduction_cells=[1], fused_cells=[], head_channels=8))
    assert space.num_cells == 2
    assert len(space.choices()) == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cells": "both"}, "space.cells: got 'both', expected one of independent, shared"),
        ({"cells": "shared"}, "space.communication: got gcn with space.cells=shared, expected none"),
        ({"cells": "shared", "communication": "fc"}, "space.communication: got fc with space.cells=shared, expected none"),
        ({"reasoning": "identity"}, "space.reasoning: got 'identity', expected one of edge_similarity, operation_identity"),
        (
            {"reasoning": "operation_identity", "communication": "fc"},
            "space.reasoning: .* with space.communication=fc, where it has",
        ),
        ({"reasoning": "operation_identity", "communication": "none"}, "space.reasoning: .* choose space.communication from gcn"),
        ({"gamma": -0.5}, "space.gamma: got -0.5"),
        ({"gamma": float("nan")}, "space.gamma: got nan"),
        ({"head": "ppm", "fusion_edges": ["i4->f4"]}, "space.fusion_edges: .* with space.head=ppm"),
        ({"head": "aspp", "fusion_ops": ["conv_1x1"]}, "space.fusion_ops: .* with space.head=aspp"),
        ({"head": "aspp", "up_ops": ["interpolate"]}, "space.up_ops: .* with space.head=aspp"),
        ({"aspp_rates": [2]}, "space.aspp_rates: .* with space.head=dcfc"),
        ({"head": "aspp", "ppm_bins": [2]}, "space.ppm_bins: .* with space.head=aspp"),
        ({"head": "aspp", "aspp_rates": []}, "space.aspp_rates: got"),
        ({"head": "aspp", "aspp_rates": [6, 6]}, "space.aspp_rates: .*distinct"),
        ({"head": "ppm", "ppm_bins": [0, 2]}, "space.ppm_bins: .*from 1"),
        ({"fusion_ops": ["none"]}, r"space.fusion_ops: got unknown \[none\]"),
        ({"up_ops": []}, "space.up_ops: .*at least one"),
        ({"num_cells": 65}, "space.num_cells: got 65, expected 1 to 64"),
        ({"num_nodes": 9}, "space.num_nodes: got 9, expected 1 to 8"),
    ],
)
def test_options_without_effect_or_meaning_are_refused_with_the_reason(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LGCNetConfig(**settings)


def test_gas_cas_and_mini_are_settings_of_the_same_space() -> None:
    gas, cas = GASConfig(), CASConfig()
    assert (gas.name, gas.cells, gas.communication, gas.head) == ("gas", "independent", "gcn", "aspp")
    assert (cas.name, cas.cells, cas.communication, cas.head) == ("cas", "shared", "none", "mscell")
    mini = MiniConfig()
    assert (mini.name, mini.cells, mini.communication, mini.head) == ("mini", "independent", "gcn", "dcfc")
    for config in (gas, cas, mini):
        same = {f.name: getattr(config, f.name) for f in fields(LGCNetConfig) if f.name != "name"}
        one, other = LGCNet(config), LGCNet(LGCNetConfig(**same))
        assert one.choices() == other.choices()


def test_what_mini_has_of_its_own_is_no_setting_without_effect() -> None:
    assert MiniConfig(head="dcfc").fusion_ops == ["conv_1x1"]
    with pytest.raises(ConfigError, match=r"space.fusion_ops: got \[conv_3x3\] with space.head=aspp, where it has no effect"):
        MiniConfig(head="aspp", fusion_ops=["conv_3x3"])
    assert MiniConfig(head="aspp").head == "aspp"
