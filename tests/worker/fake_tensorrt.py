"""The Python package `tensorrt` of several versions, whose kernels run on a fake GPU.

Each version has the attributes that it has in reality, as far as they are used, and no others: a call of what another version has
is an AttributeError. The "graph" that the fake parser reads is JSON: {"inputs": [[name, shape]], "outputs": [[name, shape]],
"ms": time, "unknown": true where the parser is to refuse it}; fp16 takes half the time, int8 a quarter.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import partial
from types import SimpleNamespace
from typing import Any

from tests.worker.fake_cuda import FakeCuda


class DataType(Enum):
    FLOAT, HALF, INT32, INT64 = range(4)

    @property
    def itemsize(self) -> int:
        return {"FLOAT": 4, "HALF": 2, "INT32": 4, "INT64": 8}[self.name]


class Severity(IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = Severity.INTERNAL_ERROR, Severity.ERROR, Severity.WARNING

    def __init__(self) -> None:
        self.is_initialised = True


@dataclass
class World:
    """What all objects of one module share; `fault` is `build`, `load`, `context` or `run`: what fails.

    Without CUDA it is `null` (a constructor raises what pybind11 makes of a nullptr, and warns), `dead` (it logs errors and returns
    an object), `none` (it returns None), or `null-builder`, where the runtime is made and the builder is not.
    """

    version: str
    cuda: FakeCuda
    fault: str
    builds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def release(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split(".")[:2])


class Tensor:
    def __init__(self, name: str, shape: list[int], dtype: DataType = DataType.FLOAT) -> None:
        self.name, self.shape, self.dtype = name, tuple(shape), dtype
        self.dynamic_range: tuple[float, float] | None = None


class Network:
    def __init__(self, world: World, flags: int) -> None:
        assert world.release < (11,) or flags == 0
        self.is_explicit = world.release >= (10,) or flags == 1
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.ms = 0.0

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_layers(self) -> int:
        return len(self.outputs)

    def get_input(self, i: int) -> Tensor:
        return self.inputs[i]

    def get_layer(self, i: int) -> SimpleNamespace:
        return SimpleNamespace(num_outputs=1, get_output=lambda j: [self.outputs[i]][j])


class OnnxParser:
    def __init__(self, world: World, network: Network, logger: Any) -> None:
        assert logger.is_initialised
        assert network.is_explicit, "the parser reads networks of explicit batch only"
        self.world, self.network, self.num_errors = world, network, 0

    def parse(self, content: bytes) -> bool:
        graph = json.loads(content)
        if graph.get("unknown"):
            self.num_errors = 2
            return False
        index = DataType.INT32 if self.world.release < (10,) else DataType.INT64
        self.network.inputs = [Tensor(name, shape) for name, shape in graph["inputs"]]
        self.network.outputs = [
            Tensor(name, shape, index if name == "labels" else DataType.FLOAT) for name, shape in graph["outputs"]
        ]
        self.network.ms = graph["ms"]
        return True

    def get_error(self, i: int) -> SimpleNamespace:
        return SimpleNamespace(desc=lambda: ["No importer registered for op: Shrink\n", "another"][i])


class TimingCache:
    def __init__(self, world: World, content: bytes) -> None:
        self.world, self.content = world, content

    def serialize(self) -> bytes:
        return f"timing cache of {self.world.version}".encode()


class Config:
    def __init__(self, world: World) -> None:
        self.facts: dict[str, Any] = {"flags": [], "workspace": 16 << 20, "cache": None}
        if world.release >= (8,):
            self.create_timing_cache = partial(TimingCache, world)
            self.set_timing_cache = self._set_timing_cache
            self.get_timing_cache = lambda: self.facts["cache"]
        if world.release >= (8, 4):
            self.set_memory_pool_limit = self._set_memory_pool_limit

    def set_flag(self, flag: Any) -> None:
        self.facts["flags"].append(flag.name)

    def _set_memory_pool_limit(self, pool: str, num_bytes: int) -> None:
        assert pool == "workspace"
        self.facts["workspace"] = num_bytes

    def _set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        self.facts["cache"] = cache
        return ignore_mismatch or cache.content in (b"", cache.serialize())

    def __setattr__(self, name: str, value: Any) -> None:
        known = ("facts", "create_timing_cache", "set_timing_cache", "get_timing_cache", "set_memory_pool_limit")
        if name not in known:
            raise AttributeError(name)
        object.__setattr__(self, name, value)


class ConfigBefore10(Config):
    def __setattr__(self, name: str, value: Any) -> None:
        if name == "max_workspace_size":
            self.facts["workspace"] = value
        else:
            super().__setattr__(name, value)


class Builder:
    def __init__(self, world: World, logger: Any) -> None:
        self.world, self.logger = world, logger
        if world.release >= (8,):
            self.build_serialized_network = self._build
        if world.release < (10,):
            self.build_engine = self._build_engine

    def create_network(self, flags: int = 0) -> Network:
        return Network(self.world, flags)

    def create_builder_config(self) -> Config:
        return ConfigBefore10(self.world) if self.world.release < (10,) else Config(self.world)

    def _build(self, network: Network, config: Config) -> bytearray | None:
        self.world.builds.append(config.facts)
        if self.world.fault == "build":
            self.logger.log(Severity.WARNING, "a warning")
            self.logger.log(Severity.ERROR, "10: [optimizer.cpp::computeCosts::2011] Error Code 10: Internal Error")
            self.logger.log(Severity.ERROR, "2: [builder.cpp::buildSerializedNetwork::609] Error Code 2")
            return None
        flags, tensors = config.facts["flags"], network.inputs + network.outputs
        for tensor in tensors:
            needs_range = "INT8" in flags and tensor.dtype is DataType.FLOAT
            assert (tensor.dynamic_range is not None) == needs_range
        factor = 0.25 if "INT8" in flags else 0.5 if "FP16" in flags else 1.0
        rows = [(t.name, t.shape, t.dtype.name, t in network.inputs) for t in tensors]
        return bytearray(json.dumps({"version": self.world.version, "ms": network.ms * factor, "tensors": rows}).encode())

    def _build_engine(self, network: Network, config: Config) -> Engine | None:
        plan = self._build(network, config)
        return None if plan is None else Engine(self.world, bytes(plan))


class Engine:
    def __init__(self, world: World, content: bytes) -> None:
        plan = json.loads(content)
        self.world, self.ms, self.tensors = world, plan["ms"], plan["tensors"]
        self.serialize = lambda: content
        rows = {row[0]: row for row in self.tensors}
        if world.release >= (8, 5):
            self.num_io_tensors = len(rows)
            self.get_tensor_name = lambda i: self.tensors[i][0]
            self.get_tensor_shape = lambda name: tuple(rows[name][1])
            self.get_tensor_dtype = lambda name: DataType[rows[name][2]]
            self.get_tensor_mode = lambda name: "input" if rows[name][3] else "output"
        if world.release < (10,):
            self.num_bindings = len(rows)
            self.get_binding_shape = lambda i: tuple(self.tensors[i][1])
            self.get_binding_dtype = lambda i: DataType[self.tensors[i][2]]
            self.binding_is_input = lambda i: self.tensors[i][3]

    def create_execution_context(self) -> Context | None:
        return None if self.world.fault == "context" else Context(self.world, self)


class Context:
    def __init__(self, world: World, engine: Engine) -> None:
        self.world, self.engine = world, engine
        self.addresses: dict[str, int] = {}
        if world.release >= (8, 5):
            self.set_tensor_address = lambda name, address: self.addresses.update({name: address}) is None
            self.execute_async_v3 = self._execute_v3
        if world.release < (10,):
            self.execute_async_v2 = self._execute

    def _execute_v3(self, stream_handle: int) -> bool:
        return self._execute([self.addresses[row[0]] for row in self.engine.tensors], stream_handle)

    def _execute(self, bindings: list[int], stream_handle: int) -> bool:
        if self.world.fault == "run":
            return False
        sizes = [DataType[dtype].itemsize * math.prod(shape) for _, shape, dtype, _ in self.engine.tensors]
        return self.world.cuda.launch(self.engine.ms, stream=stream_handle, addresses=bindings, sizes=sizes)


class Runtime:
    def __init__(self, world: World, logger: Any) -> None:
        self.world, self.logger = world, logger

    def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
        if json.loads(content)["version"] != self.world.version or self.world.fault == "load":
            self.logger.log(Severity.ERROR, "1: [stdArchiveReader.cpp::StdArchiveReader::40] Error Code 1: Serialization")
            return None
        return Engine(self.world, content)


TOO_OLD = "CUDA initialization failure with error: 35. Please check your CUDA installation"


def made(world: World, kind: type, logger: Any) -> Any:
    """What the constructor of Runtime or Builder does without CUDA, else the object."""
    if world.fault == ("null-builder" if kind is Builder else "null"):
        logger.log(Severity.WARNING, "Unable to determine GPU memory usage")
        logger.log(Severity.WARNING, TOO_OLD)
        raise TypeError("pybind11::init(): factory function returned nullptr")
    if world.fault == "dead":
        logger.log(Severity.ERROR, f"createInferRuntime: Error Code 6: API Usage Error ({TOO_OLD}\n)")
    return None if world.fault == "none" else kind(world, logger)


def fake_tensorrt(version: str, cuda: FakeCuda, *, fault: str = "") -> SimpleNamespace:
    """The module `tensorrt` of version `7.1.3.0`, `8.2.1.8`, `8.6.1`, `10.3.0` or `11.0.0`; its `builds` are their settings."""
    world = World(version, cuda, fault)
    module = SimpleNamespace(
        __version__=version,
        ILogger=ILogger,
        DataType=DataType,
        Builder=partial(made, world, Builder),
        OnnxParser=partial(OnnxParser, world),
        Runtime=partial(made, world, Runtime),
        BuilderFlag=Enum("BuilderFlag", ["FP16", "INT8", "TF32"] if world.release < (11,) else ["TF32", "REFIT"]),
        NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0) if world.release < (11,) else SimpleNamespace(),
        builds=world.builds,
    )
    if world.release >= (8, 4):
        module.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    if world.release >= (8, 5):
        module.TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
    return module
