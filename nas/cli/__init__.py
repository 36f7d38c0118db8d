"""The command line: `main` runs one and returns its exit status, `entry` is the console command."""

from nas.cli.command_line import entry, main

__all__ = ["entry", "main"]
