"""What another machine writes is cut, cleaned and never kept whole."""

from __future__ import annotations

import random

import pytest

from nas.measuring.runners.untrusted_text import (
    KEPT_LINE_BYTES,
    KEPT_LINES,
    MAX_LINE_BYTES,
    LineSplitter,
    PidLine,
    Tail,
    free_kib,
    plain,
)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("as it is: ä€", "as it is: ä€"),
        ("\x1b]0;title\x07\x1b[2J", "?]0;title??[2J"),
        ("a\r\nb\tc", "a??b?c"),
        ("right\u202eto left\u2028\x9b\x7f", "right?to left???"),
        ("x" * 300, "x" * 197 + "..."),
    ],
)
def test_a_text_is_one_short_line_without_control_characters(text, clean):
    assert plain(text) == clean


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/mmcblk0p1 14384136 9012345 4620000 67% /\n", 4620000),
        ("Filesystem     1024-blocks      Used Available Capacity Mounted on\n//nas/my share 100 90 10 90% /mnt/my share\n", 10),
        ("Filesystem 1024-blocks Used Available Capacity Mounted on\nnone 1024 1024 0 100% /tmp/disk\n", 0),
        ("Filesystem 1024-blocks Used Available Capacity Mounted on\noverfull 1024 1100 -76 108% /x\n", -76),
        ("df: /x: No such file or directory\n", None),
        ("", None),
    ],
)
def test_the_free_space_is_read_from_what_df_prints(text, free):
    assert free_kib(text) == free


@pytest.mark.parametrize("seed", range(5))
def test_lines_do_not_depend_on_how_the_stream_is_cut(seed):
    draw = random.Random(seed)
    data = bytes(draw.choice(b"ab\n\xc3\xa4") for _ in range(2000))
    splitter, lines, at = LineSplitter(), [], 0
    while at < len(data):
        size = draw.randint(0, 40)
        lines += splitter.feed(data[at : at + size])
        at += size
    lines += splitter.end()
    whole = data.decode(errors="replace").split("\n")
    assert lines == (whole if whole[-1] else whole[:-1])


@pytest.mark.parametrize("chunk", [1 << 16, 3 << 20])
def test_a_line_may_have_a_mebibyte_and_no_byte_more(chunk):
    def feed(data: bytes) -> list[str]:
        splitter = LineSplitter()
        lines = [line for at in range(0, len(data), chunk) for line in splitter.feed(data[at : at + chunk])]
        return lines + splitter.end()

    assert feed(b"x" * MAX_LINE_BYTES + b"\nnext") == ["x" * MAX_LINE_BYTES, "next"]
    with pytest.raises(ValueError, match="over 1048576 bytes"):
        feed(b"x" * (MAX_LINE_BYTES + 1) + b"\n")
    with pytest.raises(ValueError, match="over 1048576 bytes"):
        feed(b"short\n" + b"x" * (MAX_LINE_BYTES + 1))


def test_a_tail_holds_the_last_lines_and_their_ends():
    tail = Tail()
    for number in range(100):
        tail.feed(f"line {number}\n\n".encode())
    tail.feed(b"x" * 3_000_000)
    tail.feed(b"end")
    assert tail.lines[-1] == "x" * (KEPT_LINE_BYTES - 3) + "end"
    assert len(tail.lines) <= KEPT_LINES
    assert tail.lines[-2] == "line 99"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_line_that_names_the_process_is_taken_out_once(size):
    data = b"welcome\nsegnas runs as process 42\nfirst error\nsegnas runs as process 43\n"
    line = PidLine()
    kept = b"".join(line.feed(data[at : at + size]) for at in range(0, len(data), size)) + line.end()
    assert line.pid == 42
    assert kept == b"welcome\nfirst error\nsegnas runs as process 43\n"


@pytest.mark.parametrize(
    "data", [b"", b"sh: 1: cd: no such folder\n", b"segnas runs as process 0\n", b"segnas runs as process 1; x\n", b"x" * 5_000_000]
)
def test_a_stream_that_names_no_process_passes_whole(data):
    line = PidLine()
    kept = b"".join(line.feed(data[at : at + 65536]) for at in range(0, len(data), 65536)) + line.end()
    assert (kept, line.pid) == (data, None)
