"""What is kept between rounds."""

from __future__ import annotations

import torch

from nas.measuring.backends.kept import Kept, num_bytes
from nas.ops import OpSpec


def spec(channels: int) -> OpSpec:
    return OpSpec(kind="add", in_channels=channels, height=1, width=1, out_channels=channels, out_height=1, out_width=1)


def test_size_is_that_of_the_contents() -> None:
    assert num_bytes(torch.zeros(2, 3), torch.zeros(5, dtype=torch.int64)) == 2 * 3 * 4 + 5 * 8


def test_buffers_are_shared_by_purpose_shapes_and_types() -> None:
    kept: Kept[str] = Kept(1000)
    first = (torch.zeros(2, 3), torch.zeros(4))
    name, buffers = kept.buffers("inputs", first)
    assert buffers is first
    kept.offer(spec(1), "one", own_bytes=0, buffers={name: buffers})
    again = kept.buffers("inputs", (torch.ones(2, 3), torch.ones(4)))
    assert again[0] == name
    assert again[1] is first
    for purpose, like in (
        ("output", first),
        ("inputs", first[:1]),
        ("inputs", first[::-1]),
        ("inputs", (first[0], first[1].long())),
    ):
        assert kept.buffers(purpose, like)[1] is like


def test_room_is_taken_once_for_shared_buffers_and_what_does_not_fit_is_not_kept() -> None:
    kept: Kept[str] = Kept(100)
    for channels, own_bytes, fits in ((1, 20, True), (2, 21, False), (3, 20, True), (4, 0, True), (5, 1, False)):
        name, buffers = kept.buffers("inputs", (torch.zeros(15),))  # 60 bytes
        kept.offer(spec(channels), f"value {channels}", own_bytes=own_bytes, buffers={name: buffers})
        assert kept.get(spec(channels)) == (f"value {channels}" if fits else None)
    other_name, other = kept.buffers("inputs", (torch.zeros(1),))
    kept.offer(spec(6), "needs a buffer", own_bytes=0, buffers={other_name: other})
    assert kept.get(spec(6)) is None
