"""The dense-connected fusion cell: its wiring is data, and bad data is refused."""

from __future__ import annotations

import pytest
import torch

from nas.errors import ConfigError
from nas.network.network import Network
from nas.space.deployment import Deployment
from nas.space.weights import uniform
from search_spaces.lgcnet.config import FUSION_EDGES, FUSION_OPS, MSCELL_EDGES, UP_OPS, LGCNetConfig
from search_spaces.lgcnet.fusion_cell import FusionCell, parse_edges
from search_spaces.lgcnet.space import LGCNet

SMALLEST = ["i4->f4", "i8->f8", "i16->f16", "f8->out up", "f16->out up up"]
RICHER = [*FUSION_EDGES, "i4->f4", "m4->m8 down", "i16->m4 up up", "i4->out"]


def _space(edges: list[str]) -> LGCNet:
    return LGCNet(LGCNetConfig(num_cells=3, reduction_cells=[1, 2], fused_cells=[0, 1, 2], ops=["conv_1x1"], fusion_edges=edges))


def test_the_default_has_nine_nodes_and_thirteen_decisions() -> None:
    cell = FusionCell(edges=parse_edges(FUSION_EDGES), strides=(4, 8, 16), ops=FUSION_OPS, up_ops=UP_OPS)
    assert cell.nodes() == ("i4", "i8", "i16", "m4", "m8", "m16", "f4", "f8", "f16")
    decisions = cell.decisions()
    assert len(decisions) == len({name for name, _ in decisions}) == 13
    assert sorted(len(options) for _, options in decisions) == [2] * 5 + [10] * 8
    ups = {name for name, options in decisions if options == UP_OPS}
    assert ups == {
        "fusion.m8_f4", "fusion.m16_f8", "fusion.f8_out", "fusion.f16_out.0", "fusion.f16_out.1",
    }  # fmt: skip


def test_the_multi_scale_cell_is_the_half_of_the_fusion_cell_at_strides_8_and_16() -> None:
    kept = [edge for edge in FUSION_EDGES if "4" not in edge and "out" not in edge]
    assert sorted(MSCELL_EDGES) == sorted([*kept, "f16->out up"])
    space = LGCNet(LGCNetConfig(head="mscell"))
    assert len(space.choices()) == 14 * 5 + 7
    graph = space.graph(Deployment((97, 131), 2, 3))
    by_name = {node.name: node for node in graph.nodes}
    assert [graph.nodes[i].name for i in by_name["fusion.i8"].inputs + by_name["fusion.i16"].inputs] == [
        "cells.7.output",
        "cells.13.output",
    ]
    spec = by_name["fusion.out"].spec
    assert (spec.out_channels, spec.out_height, spec.out_width) == (48, 13, 17)
    with pytest.raises(ConfigError, match="'i4->m4' is at stride 4, expected one of"):
        LGCNet(LGCNetConfig(head="mscell", fusion_edges=["i4->m4", *MSCELL_EDGES]))


def test_the_candidates_are_those_of_the_paper() -> None:
    assert set(FUSION_OPS) == {
        "conv_1x1", "conv_3x3", "sep_conv_3x3",
        *(f"dil_sep_conv_3x3_d{d}" for d in (2, 4, 8, 12)),
        *(f"global_pool_{bins}" for bins in ("1x1", "2x2", "5x5")),
    }  # fmt: skip
    assert UP_OPS == ("transposed_conv", "interpolate")


@pytest.mark.parametrize("edges", [list(FUSION_EDGES), SMALLEST, RICHER], ids=["default", "smallest", "richer"])
def test_any_wiring_given_as_data_runs_at_odd_sizes(edges: list[str]) -> None:
    space = _space(edges)
    network = Network(space.graph(Deployment((65, 97), 2, 3)))
    output = network(torch.randn(2, 3, 49, 73), uniform(space.choices()))
    assert output.shape == (2, 3, 49, 73)
    output.sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None]
    assert idle == []


@pytest.mark.parametrize("edges", [list(FUSION_EDGES), SMALLEST, RICHER], ids=["default", "smallest", "richer"])
def test_every_decision_of_a_wiring_steers_one_node(edges: list[str]) -> None:
    space = _space(edges)
    graph = space.graph(Deployment((65, 97), 2, 3))
    steered = [name for node in graph.nodes for name in node.decisions]
    assert sorted(steered) == sorted(choice.name for choice in space.choices())


def _with(*more: str, without: tuple[str, ...] = ()) -> list[str]:
    return [edge for edge in FUSION_EDGES if edge not in without] + list(more)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (_with("i4>m4"), "'i4>m4', expected SOURCE->TARGET"),
        (_with("i4->m4 "), "'i4->m4 ', expected SOURCE->TARGET"),
        (_with("i4->m4 sideways"), "expected SOURCE->TARGET"),
        (_with("i32->m16"), "'i32->m16', expected SOURCE->TARGET"),
        (_with("m8->i4 up"), "'m8->i4 up', expected SOURCE->TARGET"),
        (_with("out->f4"), "'out->f4', expected SOURCE->TARGET"),
        (_with("i4->m16 down down"), "expected SOURCE->TARGET"),
        (_with("i8->f4"), "'i8->f4' leads to stride 8, expected 4"),
        (_with("i16->f4 up"), "'i16->f4 up' leads to stride 8, expected 4"),
        (_with("f16->out"), "'f16->out' leads to stride 16, expected 4"),
        (_with("f8->m8"), "'f8->m8' leads back"),
        (_with("i4->m4"), "repeated edge"),
        (_with("m4->m4"), "'m4->m4' leads back"),
        (_with("m8->m4 up"), "'m8->m4 up' leads back"),
        (_with("f16->f8 up"), "'f16->f8 up' leads back"),
        (_with(without=("i8->m8",)), "nothing enters m8"),
        (_with(without=("m4->f4", "m8->f4 up")), "nothing enters f4"),
        ([], "nothing enters f4"),
        (_with(without=("f8->out up",)), "nothing leaves f8"),
        (_with("i4->m4", without=("i4->m4", "m4->f4", "m4->f8 down")), "nothing leaves m4"),
    ],
)
def test_malformed_wirings_are_refused_by_name(edges: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        _space(edges)
    assert str(caught.value).startswith("space.fusion_edges: ")


def test_a_stride_two_edge_gives_the_size_of_its_target_for_every_candidate() -> None:
    space = _space(list(FUSION_EDGES))
    graph = space.graph(Deployment((97, 131), 2, 3))
    sizes = {"m4_f8": (13, 17), "m8_f16": (7, 9), "i4_m4": (25, 33), "f8_out": (25, 33), "m16_f8": (13, 17)}
    by_name = {node.name: node for node in graph.nodes}
    for edge, size in sizes.items():
        for spec in by_name[f"fusion.{edge}"].specs.values():
            assert (spec.out_height, spec.out_width) == size, spec.key
