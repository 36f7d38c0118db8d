"""The machine: the facts that a latency table states of the device it was measured on.

A table is published, so no fact names a host, a user, a serial number or an address.
"""

import platform
import re
from typing import Dict, List, Optional, Tuple

from nas.worker.interface import WorkerError
from nas.worker.jetson import (
    BOARD_MODEL,
    clocks_are_locked,
    is_held,
    is_jetson,
    jetpack_of,
    jetson_slug,
    l4t_version,
    parse_jetson_clocks,
    parse_nvpmodel,
)
from nas.worker.nvidia_smi import check_one_gpu_model, mig_profile, query_gpu, with_profile
from nas.worker.probing import RunTool, probe_paths, read_probe, read_probe_number, run_tool

_GPU_CLOCK_FOLDERS = ("*.gpu", "*.gp10b", "*.gv11b", "*.ga10b", "gpu-gpc-[0-9]*")

CPUFREQ_OF_FIRST = "sys/devices/system/cpu/cpu0/cpufreq/"
"""The kernel's folder with the clock settings of the first CPU, in kHz."""
_MAX_FACT_CHARACTERS = 200


def device_identity(accelerator: str, *, root: str = "/", run: RunTool = run_tool) -> Dict[str, str]:
    """The facts about this machine that can be read.

    Args:
        accelerator: `cpu` or `cuda`: what operations run on.
        root: Prefix of the paths of the kernel's files.
        run: Runs a program.

    Returns:
        Some of `model` (see `device_model`), `os`, `kernel`, `python`, `machine`, `cpu`, `cpu_cores` (those online), `gpu`,
        `gpu_driver`, `gpu_memory`, `gpu_power_limit`, `gpu_mig` (profile of a slice), `gpu_tpcs` (active clusters of
        multiprocessors), `l4t`, `jetpack`, `power_mode`, `clock_limits` and `locked_clocks` (`yes` or `no`, as far as that is
        known).

    Raises:
        WorkerError: If it is unclear which of several GPUs, or slices of one, is measured.
    """
    on_gpu = accelerator == "cuda"
    locks = parse_jetson_clocks(run(["jetson_clocks", "--show"]) or "")
    l4t = l4t_version(root, run)
    on_jetson = is_jetson(root, l4t=l4t)
    facts = {
        "os": _os_name(root),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu": cpu_model(read_probe(root, "proc/cpuinfo") or ""),
        "cpu_cores": _online_cpus(root),
        "l4t": l4t,
        "jetpack": jetpack_of(l4t) or f"unknown for L4T {l4t}" if l4t else None,
        "power_mode": _power_mode(root, run, on_jetson=on_jetson),
        "locked_clocks": _locked_clocks(root, clocks_are_locked(locks)) if on_jetson else None,
        "gpu_tpcs": f"{locks['gpu']['tpcs']:.0f}" if "tpcs" in locks.get("gpu", {}) else None,
    }
    if on_gpu:
        check_one_gpu_model(run=run)
        facts.update(_gpu_facts(run))
    facts["clock_limits"] = _clock_limits(root, max_gpu_mhz=facts.pop("gpu_max_clock", None), on_gpu=on_gpu)
    facts["model"] = device_model(accelerator, gpu=facts.get("gpu"), root=root)
    texts = {name: _one_printable_line(text) for name, text in facts.items() if text is not None}
    return {name: text for name, text in sorted(texts.items()) if text}


def device_model(accelerator: str, *, gpu: Optional[str], root: str = "/") -> Optional[str]:
    """The model by which a device is named: of a Jetson the board, else the GPU, or the board or CPU, whichever is measured.

    Args:
        accelerator: `cpu` or `cuda`: what operations run on.
        gpu: Name of the GPU, if it is known.
        root: Prefix of the paths of the kernel's files.
    """
    board = read_probe(root, BOARD_MODEL)
    if accelerator == "cuda" and (board is None or jetson_slug(board) is None):
        return gpu
    return board or cpu_model(read_probe(root, "proc/cpuinfo") or "") or unknown_cpu()


def device_slug(facts: Dict[str, str], accelerator: str) -> str:
    """The name of a device for its folder of tables: short and stable for a Jetson, else made of the model's name.

    A Jetson's model is that of the board, so its CPU has a name of its own: one runtime on both makes two tables.

    >>> device_slug({"model": "Intel(R) Xeon(R) CPU @ 2.20GHz"}, "cpu")
    'intel-xeon-cpu-2.20ghz'
    >>> [device_slug({"model": "NVIDIA Jetson Nano Developer Kit"}, accelerator) for accelerator in ("cuda", "cpu")]
    ['jetson-nano', 'jetson-nano-cpu']

    Args:
        facts: What `device_identity` returns.
        accelerator: `cpu` or `cuda`: what operations run on.

    Raises:
        WorkerError: If there is no model.
    """
    model = facts.get("model", "")
    board = jetson_slug(model)
    name = model_slug(model) if board is None else board + ("-cpu" if accelerator == "cpu" else "")
    if not name:
        raise WorkerError(
            f"device: got no model (read: {', '.join(sorted(facts)) or 'nothing'}), expected that of the board, GPU or CPU; "
            "name it: device=NAME"
        )
    return name


def model_slug(model: str) -> str:
    """A device name from the name of a board, GPU or CPU model.

    >>> model_slug("Intel(R) Xeon(R) CPU @ 2.20GHz")
    'intel-xeon-cpu-2.20ghz'
    """
    plain = re.sub(r"\((r|tm|c)\)", " ", model.lower())
    return re.sub(r"[^a-z0-9.]+", "-", plain).strip("-.")


def unknown_cpu() -> str:
    """Name of a CPU whose model the system does not state."""
    return f"unknown-{model_slug(platform.machine()) or 'architecture'}-cpu"


def cpu_model(cpuinfo: str) -> Optional[str]:
    """The model of the CPU by the text of `/proc/cpuinfo`; None where that does not state one."""
    match = re.search(r"^(?:model name|cpu model|Model)[ \t]*:[ \t]*(\S.*)$", cpuinfo, re.MULTILINE)
    return match.group(1) if match else None


def cpu_governor(root: str = "/") -> Optional[str]:
    """Governor of the clock of the first CPU; None where it cannot be read."""
    return read_probe(root, CPUFREQ_OF_FIRST + "scaling_governor")


def cpu_clock_limits(root: str = "/") -> Optional[str]:
    """Limits between which the clock of the first CPU moves, e.g. `400-3600 MHz`; None where they cannot be read."""
    return _limits_in_mhz(root, CPUFREQ_OF_FIRST + "scaling_min_freq", CPUFREQ_OF_FIRST + "scaling_max_freq", units_a_mhz=1000)


def _power_mode(root: str, run: RunTool, *, on_jetson: bool) -> Optional[str]:
    """The power mode of a Jetson, which some releases show root alone; of any other machine the governor of its CPU's clock."""
    mode = parse_nvpmodel(run(["nvpmodel", "-q"]) or "")
    return mode if mode or on_jetson else cpu_governor(root)


def _online_cpus(root: str) -> Optional[str]:
    """Number of CPUs online, from a list such as `0,3-5`, else from the CPUs that the kernel describes."""
    listed = read_probe(root, "sys/devices/system/cpu/online") or ""
    if re.match(r"\d+(-\d+)?(,\d+(-\d+)?)*$", listed):
        return str(sum(last - first + 1 for first, last in _cpu_ranges(listed)))
    described = re.findall(r"^processor[ \t]*:", read_probe(root, "proc/cpuinfo") or "", re.MULTILINE)
    return str(len(described)) if described else None


def _cpu_ranges(listed: str) -> List[Tuple[int, int]]:
    ends = [part.split("-") for part in listed.split(",")]
    return [(int(part[0]), int(part[-1])) for part in ends]


def _os_name(root: str) -> Optional[str]:
    match = re.search(r"^PRETTY_NAME=(.+)$", read_probe(root, "etc/os-release") or "", re.MULTILINE)
    return match.group(1).strip().strip("\"'") if match else None


def _gpu_facts(run: RunTool) -> Dict[str, Optional[str]]:
    """Facts of the GPU that CUDA uses first, by name, and `gpu_max_clock` in MHz.

    A slice is a device of its own, with the name that CUDA gives it; the memory that `nvidia-smi` states is that of the whole GPU.
    """
    known = query_gpu(["name", "driver_version", "memory.total"], run=run)
    limits = query_gpu(["clocks.max.sm"], run=run)
    limits.update(query_gpu(["power.limit"], run=run))
    profile = mig_profile(run=run)
    return {
        "gpu": with_profile(known.get("name"), profile),
        "gpu_driver": known.get("driver_version"),
        "gpu_memory": f"{known['memory.total']} MiB" if "memory.total" in known and not profile else None,
        "gpu_mig": profile,
        "gpu_power_limit": f"{limits['power.limit']} W" if "power.limit" in limits else None,
        "gpu_max_clock": limits.get("clocks.max.sm"),
    }


def _clock_limits(root: str, *, max_gpu_mhz: Optional[str], on_gpu: bool) -> Optional[str]:
    """The limits between which the clocks move: of GPU and CPU for a Jetson's GPU, else of what is measured."""
    cpu = cpu_clock_limits(root)
    if not on_gpu:
        return cpu
    for folder in gpu_clock_folders(root):
        gpu = _limits_in_mhz(root, folder + "/min_freq", folder + "/max_freq", units_a_mhz=1000000)
        if gpu is not None:
            return f"GPU {gpu}" + (f", CPU {cpu}" if cpu else "")
    return f"GPU up to {max_gpu_mhz} MHz" if max_gpu_mhz else None


def gpu_clock_folders(root: str) -> List[str]:
    """Folders of the clocks of a Jetson's GPU: Nano, TX1 and Orin with JetPack 6; TX2; Xavier; Orin; Thor, one a cluster."""
    return [path for pattern in _GPU_CLOCK_FOLDERS for path in probe_paths(root, "sys/class/devfreq/" + pattern)]


def _locked_clocks(root: str, stated: Optional[bool]) -> Optional[str]:
    """Whether clocks are held: as `jetson_clocks` states, which may need root, else as far as the kernel's files tell it."""
    if stated is not None:
        return "yes" if stated else "no"
    names = {"min": "min_freq", "max": "max_freq", "current": "cur_freq"}
    held = []
    for folder in gpu_clock_folders(root):
        limits = {name: read_probe_number(root, f"{folder}/{file}") for name, file in names.items()}
        held.append(is_held({name: hz for name, hz in limits.items() if hz is not None}))
    if False in held:
        return "no"
    return "GPU yes, memory unknown" if held and None not in held else None


def _limits_in_mhz(root: str, low_path: str, high_path: str, *, units_a_mhz: int) -> Optional[str]:
    low, high = read_probe_number(root, low_path), read_probe_number(root, high_path)
    if low is None or high is None:
        return None
    return f"{low // units_a_mhz}-{high // units_a_mhz} MHz"


def _one_printable_line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:_MAX_FACT_CHARACTERS]
