"""`NetworkBuilder` and `Graph`: what is appended, what is passed on, what is dropped."""

from __future__ import annotations

import pytest

from nas.ops import OpSpec
from nas.space.graph import NetworkBuilder, Value

OPTIONS = {"e": ("none", "skip", "conv"), "f": ("none", "skip", "conv"), "path": ("left", "right")}


def spec(kind: str, value: Value, *, channels: int | None = None, kernel: int = 1) -> OpSpec:
    return OpSpec(
        kind=kind,
        in_channels=value.channels,
        height=value.height,
        width=value.width,
        out_channels=channels or value.channels,
        out_height=value.height,
        out_width=value.width,
        kernel=kernel,
    )


def specs(value: Value) -> dict[str, OpSpec]:
    return {"none": spec("none", value), "skip": spec("identity", value), "conv": spec("relu_conv_bn", value, kernel=3)}


def diamond(decided: dict[str, str] | None) -> NetworkBuilder:
    """image -> a -> e \\
             image -> b -> f  -> sum"""
    return NetworkBuilder((8, 6), OPTIONS, decided)


def describe(decided: dict[str, str] | None = None) -> list[str]:
    builder = diamond(decided)
    image = builder.image()
    a = builder.op("in.0.a", spec("conv_bn_relu", image, channels=4), image)
    b = builder.op("in.1.b", spec("conv_bn_relu", image, channels=4), image)
    total = builder.add("sum", [builder.choice("e", specs(a), a), builder.choice("f", specs(b), b)])
    graph = builder.finish(logits=total)
    for index, node in enumerate(graph.nodes):
        assert all(source < index for source in node.inputs)
    return [node.name for node in graph.nodes]


@pytest.mark.parametrize(
    ("e", "f", "expected"),
    [
        ("conv", "conv", ["image", "in.0.a", "in.1.b", "e", "f", "sum"]),
        ("skip", "conv", ["image", "in.0.a", "in.1.b", "f", "sum"]),
        ("skip", "skip", ["image", "in.0.a", "in.1.b", "sum"]),
        ("none", "conv", ["image", "in.1.b", "f"]),
        ("skip", "none", ["image", "in.0.a"]),
    ],
)
def test_a_decided_graph_holds_what_runs_and_nothing_else(e: str, f: str, expected: list[str]) -> None:
    assert describe({"e": e, "f": f}) == expected


def test_an_open_graph_holds_everything() -> None:
    assert describe() == ["image", "in.0.a", "in.1.b", "e", "f", "sum"]


def test_a_sum_without_terms_is_refused() -> None:
    with pytest.raises(ValueError, match="sum: a sum without terms"):
        describe({"e": "none", "f": "none"})


def test_what_no_output_needs_is_dropped_and_the_rest_renumbered() -> None:
    builder = NetworkBuilder((8, 6), {})
    image = builder.image()
    builder.op("dead", spec("classifier", image), image)
    alive = builder.op("alive", spec("classifier", image), image)
    graph = builder.finish(logits=alive)
    assert [node.name for node in graph.nodes] == ["image", "alive"]
    assert graph.outputs == {"logits": 1}
    assert graph.nodes[1].inputs == (0,)


def test_terms_of_different_shapes_are_refused() -> None:
    builder = NetworkBuilder((8, 6), {})
    image = builder.image()
    wide = builder.op("wide", spec("classifier", image, channels=5), image)
    with pytest.raises(ValueError, match="sum: terms of different shapes"):
        builder.add("sum", [image, wide])


def test_maps_of_different_sizes_are_neither_concatenated_nor_selected_from() -> None:
    builder = NetworkBuilder((8, 6), OPTIONS)
    image = builder.image()
    half = OpSpec(kind="max_pool", in_channels=3, height=8, width=6, out_channels=3, out_height=4, out_width=3, kernel=3, stride=2)
    small = builder.op("small", half, image)
    with pytest.raises(ValueError, match=r"joined: maps of different sizes \[\(4, 3\), \(8, 6\)\]"):
        builder.concat("joined", [image, small])
    with pytest.raises(ValueError, match="path: values of different shapes"):
        builder.select("path", {"left": image, "right": small})


def test_two_nodes_of_one_name_are_refused() -> None:
    builder = NetworkBuilder((8, 6), {})
    image = builder.image()
    builder.op("a", spec("classifier", image), image)
    with pytest.raises(ValueError, match="two nodes are called 'a'"):
        builder.op("a", spec("classifier", image), image)


def test_concat_adds_up_channels_and_passes_a_single_value_on() -> None:
    builder = NetworkBuilder((8, 6), {})
    image = builder.image()
    wide = builder.op("wide", spec("classifier", image, channels=5), image)
    joined = builder.concat("joined", [image, wide])
    assert (joined.channels, joined.height, joined.width) == (8, 8, 6)
    assert builder.concat("alone", [wide]) is wide
    node = builder.finish(logits=joined).nodes[-1]
    assert (node.spec.kind, node.spec.groups, node.spec.in_channels, node.spec.out_channels) == ("concat", 2, 3, 8)


def test_a_selection_is_a_node_while_open_and_one_of_its_inputs_once_decided() -> None:
    for decided in (None, {"path": "right"}):
        builder = NetworkBuilder((8, 6), OPTIONS, decided)
        image = builder.image()
        sides = {name: builder.op(name, spec("classifier", image), image) for name in ("right", "left")}
        chosen = builder.select("path", sides)
        names = [node.name for node in builder.finish(logits=chosen).nodes]
        assert names == (["image", "right", "left", "path"] if decided is None else ["image", "right"])


def test_a_selection_reads_its_inputs_in_the_order_of_the_options() -> None:
    builder = NetworkBuilder((8, 6), OPTIONS)
    image = builder.image()
    sides = {name: builder.op(name, spec("classifier", image), image) for name in ("right", "left")}
    graph = builder.finish(logits=builder.select("path", sides))
    assert [graph.nodes[i].name for i in graph.nodes[-1].inputs] == ["left", "right"]


def test_a_combination_lists_its_specs_by_option_indices_and_has_the_largest_channels() -> None:
    builder = NetworkBuilder((8, 6), {"op": ("a", "b"), "width": ("4", "8")})
    image = builder.image()
    table = {
        (op, width): spec("relu_conv_bn", image, channels=int(width), kernel=kernel)
        for op, kernel in (("b", 3), ("a", 1))
        for width in ("8", "4")
    }
    value = builder.combination("slim", ("op", "width"), table, image)
    assert value.channels == 8
    node = builder.finish(logits=value).nodes[-1]
    assert {c: (s.kernel, s.out_channels) for c, s in node.specs.items()} == {
        (0, 0): (1, 4),
        (0, 1): (1, 8),
        (1, 0): (3, 4),
        (1, 1): (3, 8),
    }
    assert node.option_names == (("a", "b"), ("4", "8"))


def test_several_nodes_may_follow_one_decision_and_share_one_module() -> None:
    builder = NetworkBuilder((8, 6), OPTIONS)
    value = builder.image()
    for i in range(2):
        following = builder.choice(f"step.{i}", specs(value), value, decision="e", module_name="step")
        assert following is not None
        value = following
    first, second = builder.finish(logits=value).nodes[1:]
    assert first.decisions == second.decisions == ("e",)
    assert first.module == second.module == "step"
    assert first.name != second.name


@pytest.mark.parametrize(
    ("name", "part"),
    [("cells.3.edge.1", "cells.3"), ("stem.conv0", "stem"), ("fusion.f16_out.0", "fusion"), ("image", "image")],
)
def test_the_part_of_a_node_is_the_head_of_its_name(name: str, part: str) -> None:
    builder = NetworkBuilder((8, 6), {})
    image = builder.image()
    if name == "image":
        assert builder.finish(logits=image).nodes[0].part == part
    else:
        assert builder.finish(logits=builder.op(name, spec("classifier", image), image)).nodes[-1].part == part


def test_the_plan_of_a_graph_has_each_operation_once_and_no_free_ones() -> None:
    builder = NetworkBuilder((8, 6), OPTIONS)
    image = builder.image()
    values = [builder.choice(name, specs(image), image) for name in ("e", "f")]
    graph = builder.finish(logits=builder.add("sum", values))
    plan = graph.specs()
    assert sorted(s.kind for s in plan) == ["add", "relu_conv_bn"]
    assert list(plan) == sorted(plan)


def test_operations_of_a_derived_graph_count_each_addition_of_a_sum() -> None:
    builder = NetworkBuilder((8, 6), {})
    image = builder.image()
    terms = [builder.op(f"term.{i}", spec("classifier", image), image) for i in range(4)]
    executed = builder.finish(logits=builder.add("sum", terms)).operations()
    assert [part for part, _ in executed] == ["term.0", "term.1", "term.2", "term.3", "sum", "sum", "sum"]


def test_operations_of_an_open_graph_are_refused() -> None:
    builder = NetworkBuilder((8, 6), OPTIONS)
    image = builder.image()
    value = builder.choice("e", specs(image), image)
    assert value is not None
    with pytest.raises(ValueError, match="e is undecided"):
        builder.finish(logits=value).operations()


def test_a_node_reads_nothing_as_none_and_one_input_as_a_selection() -> None:
    builder = NetworkBuilder((8, 6), OPTIONS)
    image = builder.image()
    edge = builder.choice("e", specs(image), image)
    assert edge is not None
    other = builder.op("other", spec("classifier", image), image)
    nodes = builder.finish(logits=builder.select("path", {"left": edge, "right": other})).nodes
    by_name = {node.name: node for node in nodes}
    assert [by_name["e"].reads((i,), 0) for i in range(3)] == [False, True, True]
    assert [by_name["path"].reads((i,), j) for i in range(2) for j in range(2)] == [True, False, False, True]
    assert by_name["other"].reads((), 0)


def test_what_is_idle_is_no_node_and_not_deployed():
    builder = diamond({})
    image = builder.image()
    logits = builder.op("head", spec("classifier", image, channels=5), image)
    labels = builder.op("labels", spec("argmax", logits, channels=1), logits)
    held = spec("bare_conv", logits)
    builder.idle("head.spare", held)
    with pytest.raises(ValueError, match=r"two nodes are called 'head\.spare'"):
        builder.idle("head.spare", held)
    graph = builder.finish(logits=logits, labels=labels)
    assert graph.idle == {"head.spare": held}
    assert [node.name for node in graph.nodes] == ["image", "head", "labels"]
    assert held not in graph.specs()
    assert held not in [operation for _, operation in graph.operations()]
    assert graph.deployed().idle == builder.finish(logits=logits).deployed().idle == {}


def test_without_an_output_what_leads_to_it_alone_is_idle():
    builder = NetworkBuilder((4, 4), {}, {})
    image = builder.image()
    shared = builder.op("shared", spec("bare_conv", image), image)
    spare = builder.op("spare", spec("bare_conv", shared, channels=7), shared)
    again = builder.op("again", spec("bare_conv", image), spare, module_name="shared")
    graph = builder.finish(logits=shared, spare=again).without(["spare"])
    assert [node.name for node in graph.nodes] == ["image", "shared"]
    assert graph.outputs == {"logits": 1}
    assert graph.idle == {"spare": spec("bare_conv", shared, channels=7)}
