"""What a search has, in the names of the plain supernet: its weights, and the widths of its draws."""

from __future__ import annotations

import re

import torch
from plain_supernet import OPERATORS, Operator, PlainSupernet, Widths, drawn_widths

from nas.supernet.relaxation.gumbel import gumbel_noise
from nas.supernet.supernet import Draw, Supernet
from search_spaces.fasterseg.space import STUDENT

STRIDES = ("8", "16", "32")
PARAMETERS = {"op": "alpha", "input": "beta", "width": "ratio"}
REFINES = {"16.arm": "16.0", "16.conv": "16.1", "32.0.arm": "32.0", "32.0.conv": "32.1", "32.1.arm": "32.2", "32.1.conv": "32.3"}
HALVES = {"conv": 0, "conv_even": 0, "conv_odd": 1}


def plain_name(name: str, plain: PlainSupernet) -> str:
    """The plain name of a tensor of `nas.supernet.Supernet`."""
    if found := re.fullmatch(r"architectures\.(\w+)\.alpha\.(\w+)_(\d+)", name):
        return f"sets.{found[1]}.{PARAMETERS[found[2]]}.{STRIDES.index(found[3])}"
    if found := re.fullmatch(
        r"network\.cells\.(\d+)\.(\d+)\.(\w+)\.ops\.(\w+?)(?:\.(\d))?\.(conv|conv_even|conv_odd|bn)\.(.+)", name
    ):
        layer, stride, kind, op, number, part, rest = found.groups()
        place = f"{kind}.{layer}_{STRIDES.index(stride)}.ops.{op}"
        if part != "bn":
            return f"{place}.convs.{number or HALVES[part]}.{rest}"
        channels, tensor = rest.split(".")
        operator = plain.get_submodule(place)
        assert isinstance(operator, Operator)
        return f"{place}.norms.{number or 0}.{operator.outs.index(int(channels))}.{tensor}"
    if found := re.fullmatch(r"network\.stem\.(\d)\.sets\.(\w+?)\.(?:(first|second)\.)?((?:conv|bn)\.\w+)", name):
        half = {"first": "0.", "second": "1.", None: ""}[found[3]]
        return f"sets.{found[2]}.stem.{found[1]}.{half}{found[4]}"
    if found := re.fullmatch(r"network\.refine([\w.]+)\.sets\.(\w+?)\.((?:conv|bn)\.\w+)", name):
        return f"sets.{found[2]}.refine{REFINES[found[1]]}.{found[3]}"
    found = re.fullmatch(r"network\.head(\w+)\.(conv|classifier)\.sets\.(\w+?)\.((?:conv|bn)\.\w+)", name)
    assert found is not None, name
    rest = f"0.{found[4]}" if found[2] == "conv" else f"1.{found[4].removeprefix('conv.')}"
    return f"sets.{found[3]}.heads.{found[1]}.{rest}"


def plain_of(supernet: Supernet, *, filters: int, classes: int) -> PlainSupernet:
    """The plain supernet with copies of all weights, statistics and architecture parameters, in their precision."""
    config, widths = supernet.space.config, supernet.space.config.widths
    plain = PlainSupernet(
        layers=config.layers,
        filters=filters,
        widths=widths,
        classes=classes,
        sets={"teacher": (widths[-1], 1), STUDENT: (config.student_width, len(widths))},
        weigh=config.path_weights,
    ).to(next(supernet.parameters()).dtype)
    state = {plain_name(name, plain): tensor for name, tensor in supernet.state_dict().items()}
    unused = {f"sets.teacher.ratio.{scale}" for scale in range(3)}
    assert set(state) == {name for name, tensor in plain.state_dict().items() if tensor.numel()} - unused
    plain.load_state_dict(state, strict=False)
    return plain


def same_widths(draw: Draw, plain: PlainSupernet) -> Widths:
    """The widths that a search draws, as functions of the plain logits; the generator of the draw moves on as it does there.

    `relax.sample` takes noise for all operators, then all searched widths, then all inputs, each in the order of scales and layers;
    what a mode draws follows.
    """
    own, generator = plain.sets[draw.architecture], draw.generator
    gumbel_noise((sum(map(len, own.alpha)), len(OPERATORS)), generator=generator)
    columns = own.ratio[0].shape[1]
    noise = gumbel_noise((sum(map(len, own.ratio)), columns), generator=generator) if columns > 1 else None
    gumbel_noise((sum(map(len, own.beta)), 2), generator=generator)
    if draw.mode is None and noise is not None:
        return drawn_widths(list(own.ratio), noise.to(own.ratio[0]).split([len(rows) for rows in own.ratio]))
    entering = [(layer, scale) for scale in range(3) for layer in range(max(scale, 1), plain.layers)]
    indices = [0 if draw.mode == "min" else plain.num_widths - 1] * len(entering)
    if draw.mode == "random":
        indices = torch.randint(plain.num_widths, (len(entering),), generator=generator).tolist()
    one = own.alpha[0].new_ones(())
    return {place: (index, one) for place, index in zip(entering, indices, strict=True)}
