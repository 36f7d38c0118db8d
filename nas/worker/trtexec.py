"""TensorRT through its program trtexec: builds an engine once, then starts the program for each sample.

What a version can do is read from its banner and its `--help`. Tested against recorded outputs of TensorRT 7.1, 8.2, 8.4, 8.6 and
10 and against a fake of 7.1, 8.2, 8.4, 8.6, 10.3 and 11.0; not yet run on hardware.
"""

import os
import re
import shutil
import statistics
from pathlib import Path
from typing import Dict, FrozenSet, List, Optional, Set, Tuple

from nas.worker.child_process import run_logged
from nas.worker.engines import (
    EngineKind,
    board_memory_mib,
    check_tensorrt_setup,
    common_details,
    engine_path,
    is_engine,
    jetson_board,
    lasting_folder,
    timing_cache_path,
    workspace_mib,
)
from nas.worker.interface import GPU_TIME, Operation, Run, Runtime, Setup, WorkerError
from nas.worker.nvidia_smi import gpu_name
from nas.worker.probing import RunTool, run_tool
from nas.worker.trtexec_output import (
    TimedQuery,
    device_block,
    gpu_compute_median_ms,
    graph_fell_back,
    instability_limit,
    instability_percent,
    is_bound_by_enqueue,
    read_times,
    release_of,
    telling_line,
    trtexec_flags,
    trtexec_passed,
    trtexec_version,
)

TRTEXEC_VARIABLE = "SEGNAS_TRTEXEC"
"""Environment variable that names the program."""
TRTEXEC_PLACES = (
    "/usr/src/tensorrt/bin/trtexec",
    "/usr/local/tensorrt/bin/trtexec",
    "/opt/tensorrt/bin/trtexec",
    "/usr/local/bin/trtexec",
)
"""Places beside PATH to look for it: JetPack's first, then those of packages and containers."""
WARM_UP_MS = 500
"""Queries of the first ms are not counted: clocks that idled need longer than trtexec's own 200 ms."""
FEWEST_QUERIES = 100
"""A sample is the mean of at least so many queries."""
_HELP_LIMIT_S = 120.0
_NEEDED_FLAGS = ("--onnx", "--saveEngine", "--loadEngine", "--warmUp", "--duration", "--iterations", "--avgRuns", "--exportTimes")


def find_trtexec(*, places: Tuple[str, ...] = TRTEXEC_PLACES) -> Optional[str]:
    """The program: what the environment variable names, else the one on PATH, else the first of the usual places.

    Returns:
        Its path; None where there is none.

    Raises:
        WorkerError: If the variable names what is no executable file.
    """
    named = os.environ.get(TRTEXEC_VARIABLE)
    if named:
        if not _is_program(named):
            raise WorkerError(f"{TRTEXEC_VARIABLE}: got {named}, expected the path of the executable program trtexec")
        return str(Path(named).resolve())
    on_path = shutil.which("trtexec")
    if on_path is not None:
        return str(Path(on_path).resolve())
    return next((place for place in places if _is_program(place)), None)


class TrtexecRuntime(Runtime):
    """TensorRT through trtexec.

    A sample is the mean of the GPU's compute time over at least 100 queries, replayed as a CUDA graph, without transfers.

    Args:
        setup: Precision, accelerator (`cuda`) and the folder for engines, the timing cache and logs.
        program: Path of trtexec.
        build_limit_s: Most seconds for building one engine.
        timing_limit_s: Most seconds for one sample.
        root: Prefix of the system's files.
        run: Runs a program that tells which GPU this is.

    Raises:
        WorkerError: If it does not start, lacks what is needed, or cannot build for the precision.
    """

    is_program = True
    clock = GPU_TIME

    def __init__(
        self,
        setup: Setup,
        program: str,
        *,
        build_limit_s: float = 1200.0,
        timing_limit_s: float = 300.0,
        root: str = "/",
        run: RunTool = run_tool,
    ) -> None:
        board = jetson_board(root)
        check_tensorrt_setup(setup, board=board)
        self._program = program
        self._folder = lasting_folder(setup)
        self._build_limit_s = build_limit_s
        self._timing_limit_s = timing_limit_s
        help_text = self._call(["--help"], what="trtexec --help", limit_s=_HELP_LIMIT_S, must_pass=False)
        self._flags = trtexec_flags(help_text)
        banner = trtexec_version(help_text)
        self.version = banner or version_of_7(root)
        self._has_warm_up_in_file = banner is None or release_of(banner) < (8, 5)
        check_flags(self._flags, precision=setup.precision, version=self.version)
        workspace = workspace_mib(board_memory_mib(root) if board else None)
        self._kind = EngineKind("trtexec", self.version, setup.precision, workspace, board or gpu_name(run=run) or "GPU")
        self._samples = 0
        self._seen: Dict[str, int] = {}
        self._without: Set[str] = set()
        self.without_graph = self._without
        shown = program if program.startswith("/usr/") else os.path.basename(program)  # a table is published: no home folders
        self.details = dict(common_details(setup, workspace=workspace), trtexec=shown)
        if banner is None:
            self.details["version"] = "trtexec prints none, so 7.x; the rest is the name of the library libnvinfer.so.7.*"
        self.graphs = "--useCudaGraph" in self._flags or "--noCudaGraph" in self._flags
        self.details["cuda graph"] = "used" if self.graphs else "not offered by this version"
        self.details["called unstable"] = unstable_rule(self.version)

    def open(self, operation: Operation) -> Run:
        """Build the engine, unless it is there from an earlier run; the number of calls of a sample is at least 100."""
        engine = engine_path(operation, kind=self._kind, folder=self._folder)
        if not is_engine(engine):
            self._build(operation, engine)

        def run(calls: int) -> float:
            return self._sample(operation, engine, max(calls, FEWEST_QUERIES))

        return run

    def _build(self, operation: Operation, engine: Path) -> None:
        partial = engine.with_name(f"{engine.name}.partial")
        _remove_if_there(partial)
        cache = timing_cache_path(kind=self._kind, folder=self._folder)
        arguments = [f"--onnx={Path(operation.path).resolve()}", f"--saveEngine={partial}"]
        arguments += build_flags(self._flags, precision=self._kind.precision, workspace=self._kind.workspace_mib)
        if "--timingCacheFile" in self._flags:
            arguments.append(f"--timingCacheFile={cache}")
        try:
            self._call(arguments, what=f"{operation.key}: building", limit_s=self._build_limit_s)
        except WorkerError as error:
            _remove_if_there(partial)
            if re.search(r"timing ?cache", str(error), re.IGNORECASE) and cache.is_file():
                raise WorkerError(f"{error}; remove {cache} and start again") from None
            raise
        if not is_engine(partial):
            raise WorkerError(f"{operation.key}: building: trtexec passed, but wrote no engine; expected {partial}; is there room?")
        partial.replace(engine)

    def _sample(self, operation: Operation, engine: Path, count: int) -> float:
        what = f"{operation.key}: timing"
        times = self._folder / "trtexec-times.json"
        _remove_if_there(times)
        arguments = [f"--loadEngine={engine}", f"--warmUp={WARM_UP_MS}", "--duration=0"]
        arguments += [f"--iterations={count}", f"--avgRuns={count}", f"--exportTimes={times}"]
        wanted = ("--explicitBatch", "--useCudaGraph", "--useSpinWait", "--noDataTransfers")
        # From 11 on, which knows their opposites, what is not listed is the default.
        arguments += [
            flag for flag in wanted if flag in self._flags and (flag != "--explicitBatch" or self.version.startswith("7"))
        ]
        log = self._call(arguments, what=what, limit_s=self._timing_limit_s)
        try:
            queries = read_times(times.read_text(encoding="utf-8", errors="replace"))
            mean = self._mean_ms(queries, log, count=count)
        except FileNotFoundError:
            raise WorkerError(f"{what}: trtexec passed, but wrote no times; expected {times}; is there room?") from None
        except WorkerError as error:
            raise WorkerError(f"{what}: {error}") from None
        self._note(operation, log)
        return mean

    def _mean_ms(self, queries: List[TimedQuery], log: str, *, count: int) -> float:
        counted = [q.compute_ms for q in queries if not self._has_warm_up_in_file or q.start_ms >= WARM_UP_MS]
        if len(counted) < count // 2:
            raise WorkerError(f"got {len(counted)} queries after the warm-up, expected about {count}; run it again")
        median, printed = statistics.median(counted), gpu_compute_median_ms(log)
        if abs(median - printed) > max(0.05 * printed, 0.002):
            raise WorkerError(
                f"the median of the file is {median:g} ms, but the summary says {printed:g} ms; expected the same "
                "within 5 % or 2 us; the formats of this version are unknown: please report it"
            )
        if median <= 0:
            raise WorkerError("got a median of 0 ms, expected more: the engine does nothing; leave the operation out")
        return statistics.mean(counted)

    def _call(self, arguments: List[str], *, what: str, limit_s: float, must_pass: bool = True) -> str:
        path = self._folder / "trtexec.log"
        try:
            status = run_logged([self._program] + arguments, log=path, limit_s=limit_s)
        except WorkerError as error:
            raise WorkerError(f"{what}: {error}") from None
        log = path.read_text(encoding="utf-8", errors="replace")
        if status < 0:
            hint = " (often: no memory left)" if status == -9 else ""
            raise WorkerError(
                f"{what}: trtexec was ended by signal {-status}{hint}; its last word: {telling_line(log)}; log: {path}"
            )
        if status > 0 or (must_pass and not trtexec_passed(log)):
            raise WorkerError(f"{what}: trtexec failed with status {status}: {telling_line(log)}; log: {path}")
        return log

    def _note(self, operation: Operation, log: str) -> None:
        self._samples += 1
        self.details.update(device_block(log))
        variance = instability_percent(log)
        facts = {
            "unstable": None if variance is None else f"coefficient of variance {variance:g} %",
            "bound by enqueue": "the host launches more slowly than the GPU computes" if is_bound_by_enqueue(log) else None,
        }
        for name, fact in facts.items():
            if fact is not None:
                self._seen[name] = self._seen.get(name, 0) + 1
                self.details[name] = f"{self._seen[name]} of {self._samples} samples so far; the last: {fact}"
        if self.graphs and graph_fell_back(log):
            self._without.add(operation.key)
            self.details["cuda graph"] = f"used, but {len(self._without)} operations cannot be captured; the last: {operation.key}"


def check_flags(flags: FrozenSet[str], *, precision: str, version: str) -> None:
    """Refuse a trtexec that cannot do what is needed.

    Args:
        flags: The options that its help lists.
        precision: `fp32`, `fp16` or `int8`.
        version: Its version, for the message.

    Raises:
        WorkerError: If an option is missing.
    """
    missing = [flag for flag in _NEEDED_FLAGS if flag not in flags]
    if not flags & {"--skipInference", "--buildOnly"}:
        missing.append("--skipInference")
    if not flags & {"--memPoolSize", "--workspace"}:
        missing.append("--memPoolSize")
    if missing:
        raise WorkerError(f"trtexec {version}: got no option {missing[0]} in its help, expected the trtexec of TensorRT 7.1 to 11")
    if precision != "fp32" and f"--{precision}" not in flags:
        raise WorkerError(
            f"trtexec {version}: got precision {precision}, but it builds in the types of the graph and has no option "
            f"--{precision}; expected fp32, or a trtexec of TensorRT 10 or older"
        )


def build_flags(flags: FrozenSet[str], *, precision: str, workspace: int) -> List[str]:
    """The options of a build that are worded differently in different versions.

    Args:
        flags: The options that its help lists.
        precision: `fp32`, `fp16` or `int8`; int8 allows fp16 too.
        workspace: Limit of the workspace in MiB.
    """
    chosen = ["--skipInference" if "--skipInference" in flags else "--buildOnly"]
    chosen.append(f"--memPoolSize=workspace:{workspace}" if "--memPoolSize" in flags else f"--workspace={workspace}")
    if "--explicitBatch" in flags and "--timingCacheFile" not in flags:  # 7.x; from 8.0 on it is what happens anyway
        chosen.append("--explicitBatch")
    return chosen + {"fp32": [], "fp16": ["--fp16"], "int8": ["--int8", "--fp16"]}[precision]


def unstable_rule(version: str) -> str:
    """In words, when a version calls a sample unstable: their counts are comparable under one rule only.

    >>> unstable_rule("11.1.0")
    'above a coefficient of variance of 2.5 %, by TensorRT 11.1.0'
    """
    limit = instability_limit(version)
    if limit is not None:
        return f"above a coefficient of variance of {limit:g} %, by TensorRT {version}"
    if release_of(version) < (8, 4):
        return f"never, by TensorRT {version}"
    return f"above a coefficient of variance of 1 or 2.5 %: not known which for TensorRT {version}"


def version_of_7(root: str = "/") -> str:
    """The version of TensorRT 7, whose trtexec does not say it: from the name of its library, e.g. `libnvinfer.so.7.1.3`.

    Returns:
        E.g. `7.1.3`; `7` where no library or several are found.
    """
    places = ("usr/lib/aarch64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/lib", "usr/local/lib", "usr/local/tensorrt/lib")
    names = [name for place in places for name in Path(root, place).glob("libnvinfer.so.7.*")]
    found = {match.group(1) for match in (re.search(r"\.so\.(7\.\d+\.\d+)$", name.name) for name in names) if match is not None}
    return found.pop() if len(found) == 1 else "7"


def _is_program(path: str) -> bool:
    return Path(path).is_file() and os.access(path, os.X_OK)


def _remove_if_there(path: Path) -> None:
    if path.exists():
        path.unlink()
