"""A program that behaves like trtexec of several TensorRT versions, with a simulated GPU.

Flags, banners, summaries and the fields of `--exportTimes` are those of the versions as their sources and recorded outputs show
them. A query takes `latency_ms` of the graph; during the warm-up three times as long. Environment:

- FAKE_TRTEXEC_VERSION: `7.1`, `8.2`, `8.4`, `8.6`, `10.3` or `11.0`;
- FAKE_TRTEXEC_FAULT: what goes wrong, a word of `FAULTS`;
- FAKE_TRTEXEC_CALLS: a file that gets the arguments of each call as a line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TextIO

BANNERS = {
    "7.1": "",
    "8.2": " [TensorRT v8201]",
    "8.4": " [TensorRT v8400]",
    "8.6": " [TensorRT v8601]",
    "10.3": " [TensorRT v100300]",
    "11.0": " [TensorRT v110000] [b43]",
}
FAULTS = """
    loader build memory killed hang-build no-engine no-passed passed-status-1
    hang no-json cut-json few graph graph-in-other-words enqueue other-summary
""".split()
STAMP = "[01/01/1970-03:47:30]"
SPEED_UP = {"fp32": 1.0, "fp16": 0.5, "int8": 0.25}

# Flag -> first version, last version in the help, last version that still takes it.
FLAGS = {
    "--onnx": ("7.1", "", ""),
    "--saveEngine": ("7.1", "", ""),
    "--loadEngine": ("7.1", "", ""),
    "--warmUp": ("7.1", "", ""),
    "--duration": ("7.1", "", ""),
    "--iterations": ("7.1", "", ""),
    "--avgRuns": ("7.1", "", ""),
    "--exportTimes": ("7.1", "", ""),
    "--exportProfile": ("7.1", "", ""),
    "--verbose": ("7.1", "", ""),
    "--help": ("7.1", "", ""),
    "--explicitBatch": ("7.1", "7.1", "8.6"),
    "--workspace": ("7.1", "8.2", "8.6"),
    "--memPoolSize": ("8.4", "", ""),
    "--buildOnly": ("7.1", "8.4", "8.6"),
    "--skipInference": ("8.6", "", ""),
    "--timingCacheFile": ("8.2", "", ""),
    "--fp16": ("7.1", "10.3", "10.3"),
    "--int8": ("7.1", "10.3", "10.3"),
    "--noTF32": ("7.1", "10.3", "10.3"),
    "--useCudaGraph": ("7.1", "10.3", "10.3"),
    "--useSpinWait": ("7.1", "10.3", "10.3"),
    "--noDataTransfers": ("8.2", "10.3", "10.3"),
    "--noCudaGraph": ("11.0", "", ""),
    "--noSpinWait": ("11.0", "", ""),
    "--includeDataTransfers": ("11.0", "", ""),
}


def release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def latency_ms(graph: bytes, precision: str = "fp32") -> float:
    """What a query of this graph takes: 0.4 to 1.4 ms in fp32."""
    return round((0.4 + zlib.crc32(graph) % 1000 / 1000) * SPEED_UP[precision], 5)


class FakeTrtexec:
    def __init__(self, version: str, fault: str, argv: list[str]) -> None:
        assert not fault or fault in FAULTS, fault
        self.version, self.fault, self.argv = version, fault, argv
        self.release = release(version)
        self.options = dict(part.partition("=")[::2] for part in argv)

    def main(self) -> int:
        if self.fault == "loader":
            say(
                "trtexec: error while loading shared libraries: libnvinfer.so.8: cannot open shared object file: "
                "No such file or directory",
                sys.stderr,
            )
            return 127
        self.banner("RUNNING")
        if "--help" in self.options:
            self.help()
            return 0
        unknown = [flag for flag in self.options if not self.takes(flag)]
        if unknown:
            self.help()
            for flag in unknown:
                self.error(f"Unknown option: {flag} {self.options[flag]}")
            return self.failed()
        self.device_block()
        return self.build() if "--onnx" in self.options else self.infer()

    def takes(self, flag: str) -> bool:
        first, _, last = FLAGS.get(flag, ("99", "", ""))
        return release(first) <= self.release and (not last or self.release <= release(last))

    def build(self) -> int:
        if self.fault == "hang-build":
            self.hang()
        if self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        graph = Path(self.options["--onnx"]).read_bytes()
        if self.release < (8,) and "--explicitBatch" not in self.options:
            self.error("[TRT] Network has dynamic or shape inputs, but no optimization profile has been defined.")
            return self.failed()
        if self.fault == "build":
            self.error('[TRT] ModelImporter.cpp:773: While parsing node number 0 [Resize -> "output"]:')
            self.error("[TRT] ModelImporter.cpp:774: --- Begin node ---")
            self.error("Engine set up failed")
            return self.failed()
        if self.fault == "memory":
            self.error(
                "Error[2]: [virtualMemoryBuffer.cpp::resizePhysical::127] Error Code 2: OutOfMemory (no further information)"
            )
            self.error("Engine could not be created from network")
            return self.failed()
        if not self.use_timing_cache():
            return self.failed()
        precision = "int8" if "--int8" in self.options else "fp16" if "--fp16" in self.options else "fp32"
        engine = {"version": self.version, "latency_ms": latency_ms(graph, precision)}
        if self.fault != "no-engine":
            Path(self.options["--saveEngine"]).write_text(json.dumps(engine))
        self.info("Engine built in 184.708 sec.")
        assert "--buildOnly" in self.options or "--skipInference" in self.options, "the fake only builds"
        return self.passed()

    def use_timing_cache(self) -> bool:
        if "--timingCacheFile" not in self.options:
            return True
        cache, content = Path(self.options["--timingCacheFile"]), f"timing cache of {self.version}"
        if cache.is_file() and cache.read_text() != content:
            self.error(f"Failed to create ITimingCache from {cache.name}: it was made by another version or device")
            return False
        cache.write_text(content)
        return True

    def infer(self) -> int:
        if self.fault == "hang":
            self.hang()
        engine = json.loads(Path(self.options["--loadEngine"]).read_text())
        if engine["version"] != self.version:
            self.error(
                "[TRT] 6: The engine plan file is not compatible with this version of TensorRT, expecting library version "
                f"{self.version} got {engine['version']}, please rebuild."
            )
            return self.failed()
        self.capture_graph()
        if self.release < (8,) and "--explicitBatch" not in self.options:
            self.error("Parameter check failed at: engine.cpp::enqueue::451, condition: !mEngine.hasImplicitBatchDimension()")
            return self.failed()
        warm_up, timed = self.queries(engine["latency_ms"])
        if self.fault not in ("no-json", "few"):
            written = timed if self.release >= (8, 5) else warm_up + timed
            text = export_times(written, self.release)
            Path(self.options["--exportTimes"]).write_text(text[: len(text) // 2] if self.fault == "cut-json" else text)
        if self.fault == "few":
            Path(self.options["--exportTimes"]).write_text(export_times(timed[:10], self.release))
        self.summary([duration for _, duration in timed])
        return self.passed()

    def capture_graph(self) -> None:
        announced = self.release >= (11,) and "--noCudaGraph" not in self.options
        if announced:
            self.info("Capturing CUDA graph for the current execution context")
        if self.fault == "graph":
            self.warning("The built TensorRT engine contains operations that are not permitted under CUDA graph capture mode.")
            self.warning(
                "CUDA graph capture failed. The inference will be launched without using CUDA graph."
                if self.release >= (11,)
                else "The specified --useCudaGraph flag has been ignored. The inference will be launched without using CUDA graph "
                "launch."
            )
        elif self.fault == "graph-in-other-words":
            self.warning("No graph came of it.")
        elif announced:
            self.info("Successfully captured CUDA graph for the current execution context.")

    def queries(self, latency: float) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Start and duration of each query in ms, during the warm-up and after it."""
        limit, count = float(self.options["--warmUp"]), int(self.options["--iterations"])
        now, warm_up, timed = 2.57741, [], []
        while now < limit:
            warm_up.append((now, 3 * latency))
            now += 3 * latency
        for i in range(count):
            duration = latency * (1.0, 1.0, 1.0, 0.97, 1.05)[i % 5]
            timed.append((now, duration))
            now += duration
        return warm_up, timed

    def summary(self, durations: list[float]) -> None:
        low, high, mean, median = min(durations), max(durations), statistics.mean(durations), statistics.median(durations)
        if self.fault == "other-summary":
            median *= 1.2
        if self.release < (8,):
            self.info("GPU Compute")
            for line in (f"min: {low:g} ms", f"max: {high:g} ms", f"mean: {mean:g} ms", f"median: {median:g} ms"):
                self.info(line)
            self.info(f"percentile: {high:g} ms at 99%")
            return
        shares = ("99",) if self.release < (8, 5) else ("90", "95", "99")
        percentiles = ", ".join(f"percentile({share}%) = {high:g} ms" for share in shares)
        self.info("=== Performance summary ===")
        for name, factor in (("Latency", 1.01), ("Enqueue Time", 0.1), ("H2D Latency", 0), ("GPU Compute Time", 1)):
            values = f"min = {low * factor:g} ms, max = {high * factor:g} ms, mean = {mean * factor:g} ms"
            self.info(f"{name}: {values}, median = {median * factor:g} ms, {percentiles}")
        if self.fault == "enqueue":
            self.warning("* Throughput may be bound by Enqueue Time rather than GPU Compute and the GPU may be under-utilized.")
        variation = 100 * statistics.pstdev(durations) / mean
        if self.release >= (8, 4) and variation > 1:
            self.warning(f"* GPU compute time is unstable, with coefficient of variance = {variation:g}%.")

    def device_block(self) -> None:
        if self.release < (8,):
            return
        self.info("=== Device Information ===")
        for line in ("Selected Device: Orin", "Compute Capability: 8.7", "SMs: 8", "Device Global Memory: 15536 MiB"):
            self.info(line)

    def help(self) -> None:
        say("=== Model Options ===")
        for flag, (_, last_listed, _) in FLAGS.items():
            if self.takes(flag) and (not last_listed or self.release <= release(last_listed)):
                say(f"  {flag:<26} Explained here; see also")
                say(f"{'':30}--otherFlag in the middle of an explanation, Emit error when a tactic is missing")

    def hang(self) -> None:
        child = subprocess.Popen(["sleep", "600"])
        Path(os.environ["FAKE_TRTEXEC_PIDS"]).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)

    def passed(self) -> int:
        if self.fault != "no-passed":
            self.banner("PASSED")
        return 1 if self.fault == "passed-status-1" else 0

    def failed(self) -> int:
        self.banner("FAILED")
        return 1

    def banner(self, word: str) -> None:
        say(f"&&&& {word} TensorRT.trtexec{BANNERS[self.version]} # trtexec {' '.join(self.argv)}")

    def info(self, text: str) -> None:
        say(f"{STAMP} [I] {text}")

    def warning(self, text: str) -> None:
        say(f"{STAMP} [W] {text}", sys.stderr)

    def error(self, text: str) -> None:
        say(f"{STAMP} [E] {text}", sys.stderr)


def say(line: str, stream: TextIO = sys.stdout) -> None:
    stream.write(f"{line}\n")
    stream.flush()


def export_times(queries: list[tuple[float, float]], version: tuple[int, ...]) -> str:
    """The file in the version's key set; numbers as C++ writes them, with six digits."""
    middle = ("In", "Out", "in", "out") if version < (8,) else ("H2d", "D2h", "h2d", "d2h")
    rows = []
    for start, duration in queries:
        end = start + duration
        row = {"startEnqMs": start, "endEnqMs": start + 0.01, f"start{middle[0]}Ms": start, f"end{middle[0]}Ms": start}
        row |= {"startComputeMs": start, "endComputeMs": end, f"start{middle[1]}Ms": end, f"end{middle[1]}Ms": end}
        row |= {f"{middle[2]}Ms": 0.0, "computeMs": duration, f"{middle[3]}Ms": 0.0, "latencyMs": duration}
        if version < (8, 4):
            row["endToEndMs"] = duration
        rows.append("{ " + ", ".join(f'"{key}" : {value:g}' for key, value in row.items()) + " }")
    return "[\n  " + "\n, ".join(rows) + "\n]\n"


if __name__ == "__main__":
    if "FAKE_TRTEXEC_CALLS" in os.environ:
        with Path(os.environ["FAKE_TRTEXEC_CALLS"]).open("a") as stream:
            stream.write(json.dumps(sys.argv[1:]) + "\n")
    sys.exit(FakeTrtexec(os.environ["FAKE_TRTEXEC_VERSION"], os.environ.get("FAKE_TRTEXEC_FAULT", ""), sys.argv[1:]).main())
