"""The output of trtexec, read as data: pure functions of its texts.

The formats are those of TensorRT 7.1 to 11 as its sources and recorded outputs show them. What is printed by one version only is
searched for by its words, not by its place: lines of several threads may be mixed, and a line may hold several time stamps.
"""

import json
import math
import re
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Tuple

from nas.worker.interface import WorkerError

_LOG_STAMP = re.compile(r"^\s*(?:\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\]\s*)+")
_LONGEST_QUOTE = 300
_NO_GRAPH = re.compile(
    r"--useCudaGraph flag has been ignored|Ignored --useCudaGraph|CUDA graph capture failed|without using CUDA graph"
    r"|not permitted under CUDA graph capture",
    re.IGNORECASE,
)
_CAPTURE_BEGINS = "Capturing CUDA graph for the current execution context"
_CAPTURE_SUCCEEDED = "Successfully captured CUDA graph"


class TimedQuery(NamedTuple):
    """One timed execution.

    Fields:
        start_ms: When its kernels started, in ms since the run began.
        compute_ms: From the start of its first kernel to the end of its last, by CUDA events.
    """

    start_ms: float
    compute_ms: float


def trtexec_version(log: str) -> Optional[str]:
    """The version in the banner; None where there is none, as in 7.x.

    Up to 9.x the number is major, minor, two digits of patch (`v8201`); from 10.0 two digits of minor (`v100300`).

    >>> trtexec_version("&&&& RUNNING TensorRT.trtexec [TensorRT v8201] # trtexec")
    '8.2.1'
    >>> trtexec_version("&&&& RUNNING TensorRT.trtexec [TensorRT v100300] [b43] # trtexec")
    '10.3.0'
    """
    match = re.search(r"&&&& \w+ TensorRT\.trtexec \[TensorRT v(\d{4,6})\]", log)
    if match is None:
        return None
    number = int(match.group(1))
    step = 1000 if number < 10000 else 10000
    major, rest = divmod(number, step)
    return f"{major}.{rest // 100}.{rest % 100}"


def trtexec_flags(help_text: str) -> FrozenSet[str]:
    """The options that `--help` lists: those at the beginning of a line, not those that an explanation mentions."""
    return frozenset(re.findall(r"^[ ]{0,4}(--[A-Za-z][A-Za-z0-9]*)", help_text, re.MULTILINE))


def trtexec_passed(log: str) -> bool:
    """Whether the program says that it succeeded."""
    return re.search(r"^&&&& PASSED TensorRT\.trtexec", log, re.MULTILINE) is not None


def telling_line(log: str) -> str:
    """The line that states why a run failed: the first error, else the first that names one, else the last one.

    Returns:
        The line without time stamps and control characters, shortened to 300 characters.
    """
    lines = [_LOG_STAMP.sub("", line).strip() for line in log.splitlines()]
    lines = [line for line in lines if line and not line.startswith("&&&&")]
    errors = [line for line in lines if re.search(r"\[[EF]\]", line)]
    # Not every line with the word: the help, printed before an error of the command line, explains options about errors.
    named = [line for line in lines if re.search(r"error while loading|terminate called|what\(\):|^Error|: [Ee]rror", line)]
    line = (errors or named or lines[-1:] or ["nothing was printed"])[0]
    line = "".join(c if c.isprintable() else " " for c in line)
    return line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "..."


def read_times(text: str) -> List[TimedQuery]:
    """The queries in a file of `--exportTimes`, of any version from 7.1.

    All versions have `startComputeMs` and `computeMs` (CUDA events). The start and end of the input and the enqueue call, which 7.1
    and 7.2 write in each other's place, are not read.

    Raises:
        WorkerError: If it is not such a file: cut off, not numbers, empty.
    """
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WorkerError(
            f"times of trtexec: got {_start_of(text)}, expected a JSON list ({_reason_of(error)}); run it again"
        ) from None
    if not isinstance(rows, list) or not rows:
        raise WorkerError(f"times of trtexec: got {_start_of(text)}, expected a JSON list of one object a query; run it again")
    return [_times_query(row) for row in rows]


def gpu_compute_median_ms(log: str) -> float:
    """The median of "GPU Compute" in the summary: a line of 8.0 and later, a block of lines in 7.x.

    Raises:
        WorkerError: If there is no such summary.
    """
    line = re.search(r"GPU Compute Time: [^\n]*?median = (\S+) ms", log)
    block = re.search(r"GPU Compute[ \t]*\n(?:[^\n]*\n){0,4}?[^\n]*median: (\S+) ms", log)
    match = line or block
    if match is None:
        raise WorkerError(f"summary of trtexec: got no median of GPU Compute, expected one; its last word: {telling_line(log)}")
    return _trtexec_number(match.group(1), "median of GPU Compute")


def instability_percent(log: str) -> Optional[float]:
    """The coefficient of variance of the warning "GPU compute time is unstable" (8.4 and later); None without the warning."""
    match = re.search(r"GPU compute time is unstable, with coefficient of variance = ([0-9.]+(?:e[+-]?\d+)?)%", log)
    return None if match is None else _trtexec_number(match.group(1), "coefficient of variance")


def is_bound_by_enqueue(log: str) -> bool:
    """Whether it warns that the host launches more slowly than the GPU computes (8.0 and later)."""
    return "Throughput may be bound by Enqueue Time" in log


def graph_fell_back(log: str) -> bool:
    """Whether kernels were launched one by one though a CUDA graph was asked for.

    The words of a failed capture are those of 7.x to 10.x ("flag has been ignored"), of 11 ("capture failed"), and of both ("not
    permitted under CUDA graph capture mode"). Versions that announce a capture announce its success, too: one that is announced
    and not confirmed did not succeed, in whatever words a later version says so.
    """
    if _NO_GRAPH.search(log) is not None:
        return True
    return _CAPTURE_BEGINS in log and _CAPTURE_SUCCEEDED not in log


def instability_limit(version: str) -> Optional[float]:
    """The coefficient of variance in percent above which a version warns: 1 from 8.4, 2.5 from 10.16, by its sources.

    Returns:
        None where a version has no such warning, and for 10.14 and 10.15, whose sources were not at hand.

    >>> instability_limit("8.6.1"), instability_limit("11.1.0"), instability_limit("10.14.0"), instability_limit("8.2.1")
    (1.0, 2.5, None, None)
    """
    release = release_of(version)
    if release < (8, 4) or (10, 13) < release < (10, 16):
        return None
    return 1.0 if release <= (10, 13) else 2.5


def release_of(version: str) -> Tuple[int, ...]:
    """Major and minor number of a version, e.g. `8.6.1`; the major one alone where there is no other."""
    return tuple(int(part) for part in version.split(".")[:2])


def device_block(log: str) -> Dict[str, str]:
    """The facts of the block "Device Information" (8.0 and later); those that are not there are left out.

    Clock rates and bus width are not read: on Jetson boards they are wrong.
    """
    words = {
        "gpu": r"Selected Device: (\S[^\n]*)",
        "compute capability": r"Compute Capability: (\d+\.\d+)",
        "multiprocessors": r"SMs: (\d+)",
        "gpu memory": r"Device Global Memory: (\d+ MiB)",
    }
    found = {name: re.search(pattern, log) for name, pattern in words.items()}
    return {name: match.group(1).strip() for name, match in found.items() if match is not None}


def _times_query(row: object) -> TimedQuery:
    if not isinstance(row, dict):
        raise WorkerError(f"times of trtexec: got {_start_of(repr(row))}, expected an object for each query; run it again")
    missing = [name for name in ("startComputeMs", "computeMs") if name not in row]
    if missing:
        raise WorkerError(f"times of trtexec: got a query without {missing[0]}, expected those of TensorRT 7.1 to 11; run it again")
    return TimedQuery(_trtexec_number(row["startComputeMs"], "startComputeMs"), _trtexec_number(row["computeMs"], "computeMs"))


def _trtexec_number(value: object, name: str) -> float:
    is_number = isinstance(value, (int, float, str)) and not isinstance(value, bool)
    try:
        number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise WorkerError(f"trtexec, {name}: got {_start_of(repr(value))}, expected a finite number >= 0; run it again")
    return number


def _start_of(text: str) -> str:
    text = "".join(c if c.isprintable() else " " for c in text[:60])
    return repr(text) if text else "nothing"


def _reason_of(error: BaseException) -> str:
    return (str(error).splitlines() or ["?"])[0]
