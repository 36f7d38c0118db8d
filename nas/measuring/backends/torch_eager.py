"""Backend `torch-eager`: PyTorch as it runs by itself, without a compiler, on a CPU or a CUDA GPU."""

from __future__ import annotations

from torch import Tensor, nn

from nas.measuring.backends.torch_modules import TorchModules
from nas.worker.torch_timing import TorchCall


class TorchEager(TorchModules):
    """Calls the modules as they are; see `TorchModules`."""

    def _finish(self, module: nn.Module, inputs: tuple[Tensor, ...], *, name: str) -> TorchCall:
        del inputs, name
        return module
