"""Lines of several processes in one file: each whole, each with its prefix."""

from __future__ import annotations

import logging
import os
import sys

import pytest

from nas.cli.marked_lines import WholeLines
from nas.cli.sweeps import marked_output


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def read(pipe):
    return os.read(pipe[0], 65536).decode()


def test_a_line_is_written_when_it_is_complete(pipe):
    stream = WholeLines(pipe[1], "job 3: ")
    assert stream.write("one") == 3
    assert stream.write(" line\nand ") == 10
    assert read(pipe) == "job 3: one line\n"
    stream.write("another\n")
    stream.write("\n")
    assert read(pipe) == "job 3: and another\njob 3: \n"
    stream.write("rest")
    stream.close()
    assert read(pipe) == "job 3: rest\n"


def test_it_is_no_terminal_and_takes_any_character(pipe):
    stream = WholeLines(pipe[1])
    assert not stream.isatty()
    assert stream.fileno() == pipe[1]
    stream.write("\u00b5s \udc80\n")
    assert read(pipe) == "\u00b5s \\udc80\n"


def test_marked_output_takes_log_lines_and_is_put_back(pipe, monkeypatch):
    with os.fdopen(os.dup(pipe[1]), "w") as out, os.fdopen(os.dup(pipe[1]), "w") as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        root, handlers = logging.getLogger(), [logging.StreamHandler(out), logging.StreamHandler(err)]
        monkeypatch.setattr(root, "handlers", handlers)
        with marked_output("job 1: "):
            logging.getLogger("nas.test").error("logged")
            sys.stdout.write("written\n")
            sys.stderr.write("said\n")
        assert read(pipe) == "job 1: logged\njob 1: logged\njob 1: written\njob 1: said\n"
        assert (sys.stdout, sys.stderr, [one.stream for one in handlers]) == (out, err, [out, err])
