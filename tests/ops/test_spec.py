"""`OpSpec`: the key states every field and reads back."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.ops import OPERATIONS, OpSpec, out_size

NUMBER = st.integers(min_value=1, max_value=4096)
SPECS = st.builds(
    OpSpec,
    kind=st.sampled_from(sorted(OPERATIONS)),
    **{field.name: NUMBER for field in dataclasses.fields(OpSpec) if field.name != "kind"},
)
BASE = OpSpec(kind="max_pool", in_channels=2, height=3, width=4, out_channels=5, out_height=6, out_width=7)


@given(SPECS)
def test_a_spec_reads_back_from_its_key(spec: OpSpec) -> None:
    assert OpSpec.from_key(spec.key) == spec


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(OpSpec)])
def test_no_two_specs_share_a_key(field: str) -> None:
    other = dataclasses.replace(BASE, **{field: "add" if field == "kind" else 99})
    assert other.key != BASE.key


def test_expansion_and_second_stride_are_stated_only_where_they_say_something() -> None:
    assert BASE.key == "max_pool in=2x3x4 out=5x6x7 k=1 s=1 d=1 g=1"
    assert dataclasses.replace(BASE, expansion=6).key == BASE.key + " e=6"
    assert dataclasses.replace(BASE, expansion=6, stride_width=20).key == BASE.key + " e=6 sw=20"
    assert dataclasses.replace(BASE, stride_width=20).key == BASE.key + " sw=20"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "max_pool",
        BASE.key + " ",
        " " + BASE.key,
        BASE.key + "\n",
        BASE.key.replace("k=1", "k=x"),
        BASE.key.replace("k=1", "k=-1"),
        BASE.key.replace("2x3x4", "2x3"),
        BASE.key.replace(" g=1", ""),
        BASE.key.upper(),
        BASE.key + " sw=20 e=6",
        BASE.key + " e=",
    ],
)
def test_what_is_no_key_is_refused_and_quoted(key: str) -> None:
    with pytest.raises(ValueError, match="expected 'KIND in=") as caught:
        OpSpec.from_key(key)
    assert repr(key) in str(caught.value)


@given(st.integers(1, 2000), st.sampled_from([1, 2]))
def test_out_size_counts_every_stride_th_pixel(size: int, stride: int) -> None:
    assert out_size(size, stride) == len(range(0, size, stride))
