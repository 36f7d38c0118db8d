"""The GPU that CUDA uses, by `nvidia-smi`: queries that survive fields which a driver does not know."""

import os
import re
from typing import Dict, List, NamedTuple, Optional, Sequence

from nas.worker.interface import WorkerError
from nas.worker.probing import RunTool

BAD_CLOCK_REASONS = (
    (0x4, "software power cap"),
    (0x8, "hardware slowdown"),
    (0x20, "software thermal slowdown"),
    (0x40, "hardware thermal slowdown"),
    (0x80, "hardware power brake"),
)
"""Bits of `clocks_throttle_reasons.active` that spoil a timing; idle, application clocks, sync boost and display do not."""

_CLOCK_REASON_NAMES = ("clocks_throttle_reasons.active", "clocks_event_reasons.active")
_SMI_VALUE_WITH_UNIT = re.compile(r"(-?\d+(?:\.\d+)?) (?:MHz|W|%|MiB|C)")
_SMI_COLUMN = re.compile(r"[a-z_]+(?:\.[a-z_]+)*(?: \[\S+\])?")
_VISIBLE_GPU = re.compile(r"\d+|GPU-[0-9a-fA-F-]+")
_LISTED_GPU = re.compile(r"GPU (\d+): .*\(UUID: (GPU-[0-9a-fA-F-]+)\)\s*")
_LISTED_SLICE = re.compile(r"\s+MIG (\S{1,40})\s+Device\s+\d+: \(UUID: (MIG-[^()\s]+)\)\s*")

UNKNOWN_MIG_PROFILE = "of unknown profile"
"""A slice of a GPU whose driver tells that it is sliced and not how."""


class MigSlice(NamedTuple):
    """A slice of a GPU, which CUDA uses as if it were one (multi-instance GPU, MIG).

    Fields:
        number: Number of its GPU.
        gpu: UUID of its GPU.
        profile: Shares of the GPU's processors and memory, e.g. `1g.10gb`.
        uuid: Its own UUID.
    """

    number: str
    gpu: str
    profile: str
    uuid: str


def parse_nvidia_smi(text: str, fields: Sequence[str]) -> List[Dict[str, str]]:
    """Output of `nvidia-smi --query-gpu=FIELDS --format=csv`: with or without `noheader`, with or without `nounits`.

    Args:
        text: The output.
        fields: The names of its columns, in order; a header prints some otherwise: `clocks.current.sm [MHz]` for `clocks.sm`.

    Returns:
        For each GPU its values, without units; those that the driver does not state (`[N/A]`, `[Not Supported]`...) are left out.
        A line that has not one value a field is no line of the table.
    """
    gpus = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(", ")]
        if len(cells) != len(fields) or all(_SMI_COLUMN.fullmatch(cell) for cell in cells):
            continue
        pairs = zip(fields, cells)  # noqa: B905  Python 3.6 has no strict; the numbers are equal
        gpus.append({name: _smi_value(cell) for name, cell in pairs if _is_told(cell)})
    return gpus


def query_gpu(fields: Sequence[str], *, run: RunTool) -> Dict[str, str]:
    """The fields of the GPU that CUDA uses first; empty where one of them is unknown to the driver, or there is no such GPU.

    Args:
        fields: Their names; ask apart for those that not every driver knows.
        run: Runs a program.
    """
    gpu = _visible_gpu(run)
    if gpu is None:
        return {}
    columns = ["index"] + list(fields)
    text = run(["nvidia-smi", "--id=" + gpu, "--query-gpu=" + ",".join(columns), "--format=csv,noheader,nounits"])
    gpus = parse_nvidia_smi(text or "", columns)
    return {name: gpus[0][name] for name in fields if name in gpus[0]} if gpus else {}


def check_one_gpu_model(*, run: RunTool) -> None:
    """Refuse a machine with GPUs of several models where the order of `nvidia-smi` need not be that of CUDA.

    CUDA numbers the fastest first unless CUDA_DEVICE_ORDER=PCI_BUS_ID; `nvidia-smi` always numbers by PCI bus.

    Raises:
        WorkerError: If the facts could be those of another GPU than the one that is measured.
    """
    if os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or _first_visible().startswith(("GPU-", "MIG-")):
        return
    columns = ("index", "name")
    text = run(["nvidia-smi", "--query-gpu=" + ",".join(columns), "--format=csv,noheader,nounits"])
    names = sorted({gpu.get("name", "unknown") for gpu in parse_nvidia_smi(text or "", columns)})
    if len(names) > 1:
        raise WorkerError(
            f"GPU: got models {', '.join(names)}, expected one whose place in nvidia-smi is known; "
            "set CUDA_DEVICE_ORDER=PCI_BUS_ID and CUDA_VISIBLE_DEVICES to the number of the one to measure"
        )


def bad_clock_reasons(*, run: RunTool) -> List[str]:
    """Reasons that slow the GPU at this moment, in words; empty where there are none or the driver states none."""
    for field in _CLOCK_REASON_NAMES:
        active = query_gpu([field], run=run).get(field)
        if active is not None:
            return clock_reasons_in_words(active)
    return []


def clock_reasons_in_words(active: str) -> List[str]:
    """The bad ones among the bits of a mask that `nvidia-smi` prints, in words.

    >>> clock_reasons_in_words("0x0000000000000021")
    ['GPU: software thermal slowdown (nvidia-smi, 0x20)']
    """
    if not re.match(r"0x[0-9a-fA-F]{1,16}$", active):
        return []
    mask = int(active, 16)
    return [f"GPU: {words} (nvidia-smi, {hex(bit)})" for bit, words in BAD_CLOCK_REASONS if mask & bit]


def parse_mig_slices(text: str) -> List[MigSlice]:
    """The slices in the output of `nvidia-smi -L`; none where no GPU is sliced."""
    slices = []
    gpu = None
    for line in text.splitlines():
        listed, part = _LISTED_GPU.fullmatch(line), _LISTED_SLICE.fullmatch(line)
        if listed:
            gpu = listed
        elif part and gpu:
            slices.append(MigSlice(gpu.group(1), gpu.group(2), part.group(1), part.group(2)))
    return slices


def mig_profile(*, run: RunTool) -> Optional[str]:
    """The profile of the slice that CUDA uses, e.g. `1g.10gb`; None where it uses a whole GPU.

    `nvidia-smi` calls a slice by the name of its GPU, so tables of both would have one name without it.

    Raises:
        WorkerError: If the GPU is sliced in several ways, and none of the slices is chosen.
    """
    visible = _first_visible()
    slices = [one for one in _mig_slices(run) if visible in (one.number, one.gpu) or _is_slice(one, visible)]
    profiles = sorted({one.profile for one in slices})
    if len(profiles) > 1:
        raise WorkerError(
            f"GPU: got a GPU with MIG slices {', '.join(profiles)}, expected one whose profile is known; "
            "set CUDA_VISIBLE_DEVICES to the UUID of the slice to measure (nvidia-smi -L)"
        )
    if profiles:
        return profiles[0]
    is_sliced = visible.startswith("MIG-") or query_gpu(["mig.mode.current"], run=run).get("mig.mode.current") == "Enabled"
    return UNKNOWN_MIG_PROFILE if is_sliced else None


def _mig_slices(run: RunTool) -> List[MigSlice]:
    return parse_mig_slices(run(["nvidia-smi", "-L"]) or "")


def _is_slice(one: MigSlice, visible: str) -> bool:
    """Whether a UUID, or as much of it as is given, is that of a slice."""
    return visible.startswith("MIG-") and len(visible) > len("MIG-") and one.uuid.startswith(visible)


def _first_visible() -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()


def _visible_gpu(run: RunTool) -> Optional[str]:
    """The number or UUID of the first GPU that CUDA may use, or whose slice it uses; None where there is none."""
    first = _first_visible()
    if first.startswith("MIG-"):
        return next((one.gpu for one in _mig_slices(run) if _is_slice(one, first)), None)
    return first if _VISIBLE_GPU.fullmatch(first) else None


def _smi_value(cell: str) -> str:
    match = _SMI_VALUE_WITH_UNIT.fullmatch(cell)
    return match.group(1) if match else cell


def _is_told(cell: str) -> bool:
    return bool(cell) and cell != "N/A" and not (cell.startswith("[") and cell.endswith("]"))


def gpu_name(*, run: RunTool) -> Optional[str]:
    """The GPU that CUDA uses first, a slice by the name that CUDA gives it; None where `nvidia-smi` does not tell.

    Raises:
        WorkerError: As `mig_profile`.
    """
    return with_profile(query_gpu(["name"], run=run).get("name"), mig_profile(run=run))


def with_profile(name: Optional[str], profile: Optional[str]) -> Optional[str]:
    """The name of a GPU, or that of its slice as CUDA gives it."""
    return f"{name} MIG {profile}" if name and profile else name
