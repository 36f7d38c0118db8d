"""What compiled code prints is dropped, and nothing else is."""

import os
import sys
from typing import Literal

import pytest

from nas.files.native_output import without_native_output


@pytest.mark.parametrize("number", [1, 2])
def test_within_the_block_alone_the_descriptor_leads_nowhere(number: Literal[1, 2], capfd: pytest.CaptureFixture[str]):
    def fail() -> None:
        with without_native_output(number):
            os.write(number, b"of a library\n")
            os.write(3 - number, b"of the other\n")
            raise ValueError("inside")

    (sys.stdout if number == 1 else sys.stderr).write("before\n")
    with pytest.raises(ValueError, match="inside"):
        fail()
    os.write(number, b"after\n")
    texts = capfd.readouterr()
    assert texts[number - 1] == "before\nafter\n"
    assert texts[2 - number] == "of the other\n"
