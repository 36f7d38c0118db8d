"""Identity of this device: a short name of its CPU or GPU model, and the settings that change its speed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nas.errors import ConfigError
from nas.worker.device_facts import (
    CPUFREQ_OF_FIRST,
    cpu_clock_limits,
    cpu_governor,
    device_identity,
    device_model,
    device_slug,
    unknown_cpu,
)
from nas.worker.engines import jetson_board
from nas.worker.interface import WorkerError
from nas.worker.probing import read_probe, read_probe_number

ACCELERATORS = ("cpu", "cuda")
"""Accelerators that operations can run on."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """A device as a latency table records it.

    Args:
        name: Short name, also a folder's: lower-case letters, digits, `.`, `_` and `-`.
        power_mode: The power mode, e.g. the governor of the CPU's clock; None where it cannot be read.
        clocks: The limits between which the clock moves, e.g. `400-3600 MHz`; None where they cannot be read.
    """

    name: str
    power_mode: str | None = None
    clocks: str | None = None

    def __post_init__(self) -> None:
        """Check the name."""
        if not is_device_name(self.name):
            raise ValueError(
                f"device name: got {self.name!r}, expected lower-case letters, digits, '.', '_' and '-', "
                "the first a letter or digit"
            )


def is_device_name(text: str) -> bool:
    """Whether the text can be the name of a device, hence of a folder."""
    return _NAME.fullmatch(text) is not None


def cpu_name(root: str = "/") -> str:
    """The name of this machine's CPU, as the worker names it; `unknown-ARCHITECTURE-cpu` where the system does not tell the model.

    Args:
        root: Prefix of the paths of the kernel's files.
    """
    try:
        return device_slug({"model": device_model("cpu", gpu=None, root=root) or ""}, "cpu")
    except WorkerError:
        return unknown_cpu()


def gpu_name(root: str = "/") -> str:
    """The name of this machine's first CUDA GPU, as the worker names it: of a Jetson that of the board.

    Args:
        root: Prefix of the paths of the kernel's files.

    Raises:
        WorkerError: If it has no name.
    """
    import torch

    return device_slug({"model": device_model("cuda", gpu=torch.cuda.get_device_name(), root=root) or ""}, "cuda")


def current_clocks(accelerator: str = "cpu", *, root: str = "/") -> str | None:
    """The clock at this moment, e.g. `2596 MHz`; None where it cannot be read.

    Args:
        accelerator: One of `ACCELERATORS`; for `cpu` the mean over all CPUs, or where those are not stated the clock of the first
            one; for `cuda` that of the multiprocessors of the current GPU.
        root: Prefix of the paths of the kernel's files.
    """
    if accelerator == "cuda":
        return _gpu_clock()
    text = read_probe(root, "proc/cpuinfo") or ""
    stated = [float(mhz) for mhz in re.findall(r"^cpu MHz[ \t]*:[ \t]*(\d+(?:\.\d+)?)[ \t]*$", text, re.MULTILINE)]
    if stated:
        return f"{sum(stated) / len(stated):.0f} MHz"
    khz = read_probe_number(root, CPUFREQ_OF_FIRST + "scaling_cur_freq")
    return None if khz is None else f"{khz / 1000:.0f} MHz"


def identify(accelerator: str = "cpu", *, name: str = "auto", root: str = "/") -> DeviceInfo:
    """This machine's CPU or first CUDA GPU as a latency table records it; a Jetson with its power mode, as the worker records it.

    Args:
        accelerator: One of `ACCELERATORS`.
        name: The name to give it; `auto`: made of its model's name.
        root: Prefix of the paths of the kernel's files.

    Raises:
        ConfigError: If there is no such accelerator here, or the name cannot be one.
    """
    check_accelerator(accelerator)
    if name != "auto" and not is_device_name(name):
        raise ConfigError(
            f"device: got {name!r}, expected auto or lower-case letters, digits, '.', '_' and '-', the first a letter or digit"
        )
    try:
        own = name if name != "auto" else _name_of(accelerator, root)
        if jetson_board(root) is not None:
            facts = device_identity(accelerator, root=root)
            return DeviceInfo(name=own, power_mode=facts.get("power_mode"), clocks=facts.get("clock_limits"))
    except WorkerError as error:
        raise ConfigError(str(error)) from error
    if accelerator == "cuda":
        return DeviceInfo(name=own)
    return DeviceInfo(name=own, power_mode=cpu_governor(root), clocks=cpu_clock_limits(root))


def check_accelerator(accelerator: str) -> None:
    """Refuse an accelerator that is unknown or absent.

    Raises:
        ConfigError: If it is unknown, or `cuda` where PyTorch sees no GPU.
    """
    if accelerator not in ACCELERATORS:
        raise ConfigError(f"accelerator: got {accelerator!r}, expected one of {', '.join(ACCELERATORS)}")
    if not _is_present(accelerator):
        raise ConfigError("accelerator: got 'cuda', but PyTorch sees no CUDA GPU here; use accelerator=cpu")


def local_names() -> list[str]:
    """Devices that `auto` can mean on this machine: its CPU and, where there is one, its CUDA GPU."""
    return [_name_of(accelerator, "/") for accelerator in ACCELERATORS if _is_present(accelerator)]


def _name_of(accelerator: str, root: str) -> str:
    return gpu_name(root) if accelerator == "cuda" else cpu_name(root)


def _gpu_clock() -> str | None:
    import torch

    try:
        return f"{torch.cuda.clock_rate()} MHz"
    except Exception:  # noqa: BLE001  PyTorch asks NVML, which may be missing or refuse, with errors of a package of its own
        return None


def _is_present(accelerator: str) -> bool:
    if accelerator == "cpu":
        return True
    import torch

    return torch.cuda.is_available()
