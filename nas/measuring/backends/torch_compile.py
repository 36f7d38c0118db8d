"""Backend `torch-compile`: modules compiled by `torch.compile` with its default compiler, Inductor, on a CPU or a CUDA GPU.

Each operation and each network is compiled by itself, for its one shape and as one graph, before anything is timed. Nothing
falls back to eager PyTorch: what cannot be compiled is an error. Three defaults of PyTorch stand in the way and are set aside:

- A class of modules is compiled for at most 8 shapes, and for 256 in all, and eager from there on. Here every module has compiled
  versions of its own (`isolate_recompiles`), and their number has no limit.
- A compiled function first checks that what it was compiled for is still true. Modules and shapes are fixed here, so the checks
  are left out: they would be timed with every operation, but only once in a network.
- Compilers run in other processes, which would still be there while operations are timed. Here they run one by one.

What is left of PyTorch's own work in a call is about 25 us on a 2.6 GHz core (the sum of two small maps takes 31 us, eager 7 us).
It is in the time of every operation, and once in that of a network.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from nas.errors import ConfigError
from nas.measuring.backends.torch_modules import TorchModules
from nas.worker.torch_timing import TorchCall

COMPILER: str | Callable[..., object] = "inductor"
"""Backend of `torch.compile`."""
MAX_REASON = 200
"""Most characters of a compiler's message that an error quotes."""


class TorchCompile(TorchModules):
    """Calls compiled modules; see `TorchModules`."""

    def _finish(self, module: nn.Module, inputs: tuple[Tensor, ...], *, name: str) -> TorchCall:
        """Compile by calling twice: the first call compiles, the second is the first of the rest.

        Raises:
            ConfigError: If there is no compiler, or it fails.
        """
        from torch._dynamo import config as tracing
        from torch._dynamo.exc import TorchDynamoException
        from torch._inductor import config as inductor

        compiled: TorchCall = torch.compile(  # type: ignore[call-overload]  # its overloads lack isolate_recompiles (2.13)
            module,
            fullgraph=True,
            dynamic=False,
            backend=COMPILER,
            isolate_recompiles=True,
            options={"guard_filter_fn": torch.compiler.skip_all_guards_unsafe},
        )
        try:
            with (
                tracing.patch(suppress_errors=False, accumulated_recompile_limit=sys.maxsize),
                inductor.patch(compile_threads=1),
                torch.inference_mode(),
            ):
                for _ in range(2):
                    compiled(*inputs)
        except TorchDynamoException as error:
            raise ConfigError(
                f"torch-compile: cannot compile {name}: {_reason(error)}; install a C++ compiler, e.g. g++ "
                "(for CUDA also triton), or use runtime=torch-eager"
            ) from error
        return compiled


def _reason(error: BaseException) -> str:
    """The one line that says most: a compiler's first error, else the first line of what was raised first."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    line = next((line for line in lines if "error:" in line), lines[0])
    return line if len(line) <= MAX_REASON else f"{line[:MAX_REASON]}..."
