"""`python -m nas` is the command `nas`."""

from nas.cli import entry

entry()
