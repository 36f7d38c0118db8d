"""`python -m nas` is the command `nas`."""

from nas.cli.command_line import entry

entry()
