"""The errors that mean "the user's input is wrong": one or two lines, exit status 2, no traceback."""

from collections.abc import Sequence


class UserError(ValueError):
    """Input that the user can correct; the message says what was got, what was expected and what to do."""


class ConfigError(UserError):
    """A setting has a wrong value or does not fit another setting."""


class DataError(UserError):
    """A data set is missing, incomplete or broken; the message names the file."""


class GenotypeError(UserError):
    """A genotype is malformed or does not fit its search space; the message names the key."""


class TableError(UserError):
    """A latency table is missing, malformed, incomplete or belongs to another device or runtime."""


class CheckpointError(UserError):
    """A checkpoint or weights file is missing, broken or does not fit the network."""


class UnusablePathError(UserError):
    """A file or folder that the user named cannot be read or written."""


class FailedCheckError(RuntimeError):
    """A result did not pass the project's own check of it: exit status 1, and the message without a traceback.

    Args:
        message: What was got, what was expected and what to do.
        lines: The summary of what was found and written all the same.
    """

    def __init__(self, message: str, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class ResumableError(RuntimeError):
    """A run stopped, and not through its input: exit status 1, the message without a traceback; the same command goes on."""


class NonFiniteLossError(ResumableError):
    """A loss, or the outputs of an evaluation, became infinite or NaN; nothing was updated with it."""


class MemoryLimitError(ResumableError):
    """A run needs more memory than there is."""


class StorageError(ResumableError):
    """The disk is at an end, or what a run reads or writes has gone under it."""


class ConnectionLostError(ResumableError):
    """The connection to another machine broke off."""


class LostProcessError(ResumableError):
    """One of the processes of a run has gone, or no longer answers."""


class RanksDifferError(ResumableError):
    """The processes of a run no longer have the same state."""


class TerminatedError(KeyboardInterrupt):
    """SIGTERM came and the run was saved, as after Ctrl-C; exit status 143."""


class WorkerStoppedError(ResumableError):
    """The worker ended before its time."""


class DataWorkerError(ResumableError):
    """A process that prepares batches has gone, or cannot hand them over."""
