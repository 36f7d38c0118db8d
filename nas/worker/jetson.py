"""Facts that a Jetson states: its release (L4T, JetPack), power mode and the limits of their clocks."""

import re
from typing import Dict, Mapping, Optional

from nas.worker.probing import RunTool, read_probe

BOARD_MODEL = "proc/device-tree/model"
"""The kernel's file with the name of the board, where there is a device tree."""

JETPACKS = {
    "32.1": "4.2",
    "32.2": "4.2.1",
    "32.2.1": "4.2.2",
    "32.2.3": "4.2.3",
    "32.3.1": "4.3",
    "32.4.2": "4.4 DP",
    "32.4.3": "4.4",
    "32.4.4": "4.4.1",
    "32.5": "4.5",
    "32.5.1": "4.5.1",
    "32.5.2": "4.5.1",
    "32.6.1": "4.6",
    "32.7.1": "4.6.1",
    "32.7.2": "4.6.2",
    "32.7.3": "4.6.3",
    "32.7.4": "4.6.4",
    "32.7.5": "4.6.5",
    "32.7.6": "4.6.6",
    "34.1": "5.0 DP",
    "34.1.1": "5.0.1 DP",
    "35.1": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5": "5.1.3",
    "35.6": "5.1.4",
    "35.6.1": "5.1.5",
    "35.6.2": "5.1.5",
    "35.6.3": "5.1.5",
    "35.6.4": "5.1.6",
    "36.2": "6.0 DP",
    "36.3": "6.0",
    "36.4": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5": "6.2.2",
    "36.5.2": "6.2.3",
    "38.2": "7.0",
    "38.2.1": "7.0",
    "38.2.2": "7.0",
    "38.4": "7.1",
    "39.2": "7.2",
}
"""JetPack by the version of L4T (Linux for Tegra), which may end in `.0`: the table of jetson_stats, and releases since.
`DP` is a developer preview."""

JETSON_BOARDS = (
    (r"\bagx thor\b", "jetson-agx-thor"),
    (r"\borin nano\b", "jetson-orin-nano"),
    (r"\borin nx\b", "jetson-orin-nx"),
    (r"\bagx orin\b", "jetson-agx-orin"),
    (r"\bxavier nx\b", "jetson-xavier-nx"),
    (r"\bagx xavier\b|^jetson agx$", "jetson-agx-xavier"),
    (r"\bjetson tx2\b|^quill$", "jetson-tx2"),
    (r"\bjetson tx1\b", "jetson-tx1"),
    (r"\bjetson nano\b", "jetson-nano"),
)
"""Device name by what the board's name holds, in lower case with blanks for `-` and `_`; JetPack 4 calls the AGX Xavier
`Jetson-AGX` and the TX2 `quill`, JetPack 5 leaves out `Jetson` before `Orin`."""

_SAY_NO_BOARD = ("nvidia", "jetson", "developer", "kit")
_MAX_NAME_CHARACTERS = 60


def jetson_slug(model: str) -> Optional[str]:
    """The short device name of a Jetson; None for any other board. This alone decides whether a board is a Jetson.

    A Jetson that is not among `JETSON_BOARDS` has the name that its model states.

    >>> jetson_slug("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super")
    'jetson-orin-nano'
    >>> jetson_slug("NVIDIA Orin Jetson-Small Developer Kit"), jetson_slug("Raspberry Pi 4 Model B Rev 1.4")
    ('jetson-orin-small', None)

    Args:
        model: Name of the board in the device tree.
    """
    plain = re.sub(r"[-_\s]+", " ", model.lower()).strip()
    words = re.findall(r"[a-z0-9.]+", plain)
    known = next((name for pattern, name in JETSON_BOARDS if re.search(pattern, plain)), None)
    if known is not None or "jetson" not in words:
        return known
    return "-".join(["jetson"] + [word for word in words if word not in _SAY_NO_BOARD])[:_MAX_NAME_CHARACTERS].strip("-.")


def jetpack_of(l4t: str) -> Optional[str]:
    """The JetPack that an L4T version belongs to; None if unknown: a version is never guessed from its neighbours.

    >>> jetpack_of("32.7.4"), jetpack_of("36.4.0"), jetpack_of("1.2")
    ('4.6.4', '6.1', None)
    """
    return JETPACKS.get(l4t, JETPACKS.get(re.sub(r"\.0$", "", l4t)))


def is_jetson(root: str, *, l4t: Optional[str]) -> bool:
    """Whether this is a Jetson: by its board, or by its release, as containers hide the device tree.

    Args:
        root: Prefix of the path.
        l4t: What `l4t_version` returns.
    """
    board = read_probe(root, BOARD_MODEL)
    return l4t is not None or (board is not None and jetson_slug(board) is not None)


def l4t_version(root: str, run: RunTool) -> Optional[str]:
    """The version of L4T, e.g. `32.7.4`: from its file, else from its package (containers lack the file); None if neither has it.

    Args:
        root: Prefix of the path.
        run: Runs a program.
    """
    release = parse_tegra_release(read_probe(root, "etc/nv_tegra_release") or "")
    package = ["dpkg-query", "--show", "--showformat=${Version}", "nvidia-l4t-core"]
    return release or parse_core_package(run(package) or "")


def parse_tegra_release(text: str) -> Optional[str]:
    """The version of L4T in `/etc/nv_tegra_release`, e.g. `32.7.4`; None where the text states none.

    >>> parse_tegra_release("# R32 (release), REVISION: 5, GCID: 25531747, BOARD: t186ref, EABI: aarch64, DATE: ...")
    '32.5'
    """
    match = re.search(r"\bR(\d+)\s*\(release\),\s*REVISION:\s*(\d+(?:\.\d+)*)", text)
    return f"{match.group(1)}.{match.group(2)}" if match else None


def parse_core_package(text: str) -> Optional[str]:
    """The version of L4T in the version of the package `nvidia-l4t-core`, e.g. `36.4.3-20250107174145`; None for other texts."""
    match = re.match(r"(\d+\.\d+(?:\.\d+)?)-\d+\s*$", text)
    return match.group(1) if match else None


def parse_nvpmodel(text: str) -> Optional[str]:
    r"""The power mode in the output of `nvpmodel -q`, with or without `--verbose`: its name and id, as ids differ by board.

    >>> parse_nvpmodel("NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN\n0\n")
    'MAXN (0)'
    """
    match = re.search(r"NV Power Mode:[ \t]*(\S[^\r\n]*?)[ \t]*(?:\r?\n[ \t]*(\d+)[ \t]*)?(?:\r?\n|$)", text)
    if match is None:
        return None
    return f"{match.group(1)} ({match.group(2)})" if match.group(2) else match.group(1)


def parse_jetson_clocks(text: str) -> Dict[str, Dict[str, float]]:
    """The limits of the clocks in the output of `jetson_clocks --show`.

    Returns:
        For `cpu0`, `cpu1`..., `gpu` and `emc` (the memory) those of `min`, `max` and `current` that it states, in MHz; beside
        them for a CPU `online` (0 or 1), for the GPU `tpcs` (active clusters of multiprocessors), for the memory `override`
        (1: locked), which releases from L4T 39.2 on leave out on some boards. A Thor's `gpu-gpc-0` is `gpu`, and further
        clusters keep their names. Other lines, errors among them, are left out.
    """
    units: Dict[str, Dict[str, float]] = {}
    for line in text.splitlines():
        match = re.match(r"(cpu\d+|GPU|gpu-gpc-\d+|EMC)(?::\s*|\s+)(?=\w+=)", line)
        if match:
            unit = "gpu" if match.group(1) == "gpu-gpc-0" else match.group(1).lower()
            units.setdefault(unit, {}).update(_stated_clocks(line, divisor=1e3 if unit.startswith("cpu") else 1e6))
        tpcs = re.match(r"Active GPU TPCs:\s*(\d{1,4})\s*$", line)
        if tpcs:
            units.setdefault("gpu", {})["tpcs"] = float(tpcs.group(1))
    return units


def clocks_are_locked(clocks: Dict[str, Dict[str, float]]) -> Optional[bool]:
    """Whether the clocks of GPU and memory are held, from what `parse_jetson_clocks` returns; None if that is unknown of one.

    The memory says so itself (`override`), else it is held as the GPU is: by limits that are its clock.
    """
    memory = clocks.get("emc", {})
    held = [is_held(limits) for unit, limits in clocks.items() if unit.startswith("gpu")] or [None]
    held.append(memory["override"] == 1 if "override" in memory else is_held(memory))
    return None if None in held and False not in held else all(held)


def is_held(limits: Mapping[str, float]) -> Optional[bool]:
    """Whether a clock is held at one value: its limits, `min` and `max`, are what it is now, `current`; None if one is unknown.

    A clock of 0 is that of a unit that is off.
    """
    if not {"min", "max", "current"} <= set(limits):
        return None
    if limits["min"] != limits["max"]:
        return False
    return None if limits["current"] == 0 else limits["current"] == limits["max"]


def _stated_clocks(line: str, *, divisor: float) -> Dict[str, float]:
    names = {"MinFreq": "min", "MaxFreq": "max", "CurrentFreq": "current"}
    flags = {"Online": "online", "FreqOverride": "override"}
    stated = {}
    for name, value in re.findall(r"\b(\w+)=(\d{1,15})\b", line):
        if name in names:
            stated[names[name]] = int(value) / divisor
        elif name in flags:
            stated[flags[name]] = float(value)
    return stated
