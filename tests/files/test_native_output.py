"""What compiled code prints is dropped, and nothing else is."""

import os
import sys

import pytest

from nas.files.native_output import without_native_output


def test_within_the_block_alone_descriptor_1_leads_nowhere(capfd: pytest.CaptureFixture[str]):
    def fail() -> None:
        with without_native_output():
            os.write(1, b"of a library\n")
            raise ValueError("inside")

    sys.stdout.write("before\n")
    with pytest.raises(ValueError, match="inside"):
        fail()
    os.write(1, b"after\n")
    assert capfd.readouterr() == ("before\nafter\n", "")
