"""The same command in several processes of this machine, as torchrun starts them."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence

from nas.distributed.world import meeting_id
from nas.errors import LostProcessError

SHUTDOWN_S = 600
"""Seconds that a process has to finish its step and save after Ctrl-C."""


TAKEN_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals whose handlers torchrun replaces, and leaves so."""


def run_under_torchrun(arguments: Sequence[str], count: int) -> int:
    """Run `nas ARGUMENTS` in several processes of this machine, as `torchrun --nproc-per-node=COUNT -m nas ARGUMENTS` does.

    Ctrl-C is passed on once, and the processes get time to save.

    Args:
        arguments: Those of the command line, verb first.
        count: Number of processes.

    Returns:
        The exit status of the first process that failed; 0: all came to their end.

    Raises:
        LostProcessError: If one was ended by a signal.
        KeyboardInterrupt: On Ctrl-C, when all have ended.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch
    from torch.distributed.run import config_from_args, parse_args

    meeting = [
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=localhost:0",
        f"--rdzv-id={meeting_id(os.getpid())}",
        "--local-addr=127.0.0.1",
    ]
    given = ["--nnodes=1", f"--nproc-per-node={count}", *meeting, f"--shutdown-timeout={SHUTDOWN_S}", "-m", "nas", *arguments]
    config, program, program_arguments = config_from_args(parse_args(given))
    # What torchrun logs of a failure is a page; the processes say in a line what happened, and so does what is raised here.
    logging.disable(logging.CRITICAL)
    handlers = {number: signal.getsignal(number) for number in TAKEN_SIGNALS}
    try:
        elastic_launch(config=config, entrypoint=program)(*program_arguments)
    except ChildFailedError as error:
        number, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return int(failure.exitcode)
        name = signal.Signals(-failure.exitcode).name
        raise LostProcessError(
            f"process {number} of {count} was ended by {name}, and the others were stopped; go on from the last checkpoint "
            "with resume=FOLDER, with as many processes or others"
        ) from None
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        sys.exit(128 + int(error.sigval))
    finally:
        logging.disable(logging.NOTSET)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return 0
