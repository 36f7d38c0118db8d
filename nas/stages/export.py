"""Export: a trained network as an ONNX file for a device, checked against PyTorch before anybody relies on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import torch

from nas.config.jobs import ExportJob
from nas.config.settings import ExportSettings
from nas.errors import ConfigError, FailedCheckError
from nas.exporting.folding import batch_norms, fold_batch_norms
from nas.exporting.onnx_metadata import input_properties
from nas.exporting.required_packages import PACKAGES, require_packages
from nas.exporting.runtime_facts import difference_lines, known_differences
from nas.files.atomic import write_bytes_atomic, write_text_atomic
from nas.files.command_words import setting
from nas.files.file_digest import file_digest
from nas.network.network import Labels, Network
from nas.network.trained_network import trained_network, trained_sources
from nas.runs import rundir
from nas.runs.known_classes import known_classes
from nas.runs.provenance import package_version, provenance
from nas.space.design import load_design
from nas.space.genotype import Genotype
from nas.space.search_space import SpaceEntry

if TYPE_CHECKING:
    from onnx import ModelProto

    from nas.exporting.onnx_check import Agreement
    from nas.exporting.onnx_semantics import Semantics

FILE_NAME = "model.onnx"
REJECTED = "rejected.onnx"
"""Name of a file that failed its check."""
REPORT = "export.json"
FORMAT_VERSION = 1
"""The version of `export.json`."""
INPUT = "images"
"""Name of the input of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """A finished export.

    Args:
        out: Folder of model.onnx and export.json.
        report: The content of `export.json`.
        agreements: What the check found, at the deployed size and at an odd one.
        semantics: How ONNX Runtime resizes in it and takes labels.
        target: The runtime that it is for; None: not stated.
    """

    out: Path
    report: Mapping[str, Any]
    agreements: Sequence[Agreement]
    semantics: Semantics
    target: str | None

    def summary(self) -> list[str]:
        """Human lines: what the file is, how well it agrees, the files, what to do next."""
        report = self.report
        shapes = [f"{end['name']} {'x'.join(map(str, end['shape']))}" for end in (report["input"], report["output"])]
        lines = [
            f"ONNX opset {report['opset']}, {report['precision']}: {shapes[0]} -> {shapes[1]}",
            f"  {report['parameters']} parameters, {report['batch_norms_folded']} batch norms folded, {report['file_bytes']} bytes",
        ]
        for found in self.agreements:
            height, width = found.input
            lines.append(
                f"  against PyTorch at {height}x{width}: largest difference {found.max_abs_difference:.2e}, "
                f"allowed {found.allowed:.2e}; same labels {found.argmax_agreement:.4%}"
            )
        lines += [self.semantics.line(), *difference_lines(report["runtimes"], self.target)]
        if report["classes"] is None:
            lines.append("  the names of the classes are not known; export.classes=[NAME,...] puts them into the file")
        lines.extend([f"  wrote {self.out / FILE_NAME}", f"  wrote {self.out / REPORT}"])
        shape = "x".join(map(str, (1, *report["input"]["shape"][1:])))
        file = self.out / FILE_NAME
        lines.append(f"  with TensorRT: trtexec --onnx={quote(str(file))} --shapes={INPUT}:{shape}")
        return [*lines, f"next: nas bench {setting('networks', file)} runtime=onnxruntime"]


def export(job: ExportJob, spaces: Mapping[str, SpaceEntry]) -> ExportResult:
    """Write a trained network as ONNX and check it against PyTorch.

    Raises:
        UserError: If packages are missing, or network, weights and settings do not fit.
        FailedCheckError: If the file differs from PyTorch by more than is allowed; `export.json` says by how much, and the file
            is kept as `rejected.onnx`.
    """
    require_packages()
    from nas.exporting.onnx_check import check_batches, compare
    from nas.exporting.onnx_semantics import semantics_of

    genotype_path, weights_path = trained_sources(job.run, job.genotype, job.weights, job.checkpoint)
    design = load_design(genotype_path, spaces)
    genotype = design.genotype
    network, num_classes = trained_network(design, weights_path)
    classes = _class_names(job, genotype, weights_path, num_classes)
    height, width = job.export.input or genotype.deploy.input
    design.require_size((height, width), "export.input")
    with rundir.held_out(job.out, "export", run=job.run) as out:
        models = {
            size: onnx_model(network, size, job.export)
            for size in ((height, width), odd_size(height, width, design.space.size_multiple))
        }
        agreements = [
            compare(model, network, size=size, precision=job.export.precision, output=job.export.output)
            for size, model in models.items()
        ]
        model = models[height, width]
        semantics = semantics_of(model, next(check_batches((height, width))).numpy())
        _describe(model, genotype, job.export, classes=classes, num_classes=num_classes)
        report = {
            "format_version": FORMAT_VERSION,
            "passed": all(found.passed for found in agreements),
            "genotype": genotype_path,
            "weights": str(weights_path),
            "weights_sha256": file_digest(weights_path),
            **_facts(model, network, job.export, classes=classes),
            "check": [found.as_json() for found in agreements],
            "onnxruntime": semantics.as_json(),
            "target": job.export.target,
            "runtimes": known_differences(model, job.export.target),
        }
        result = ExportResult(out=out, report=report, agreements=agreements, semantics=semantics, target=job.export.target)
        return _write(result, model)


def onnx_model(network: Network, size: tuple[int, int], settings: ExportSettings) -> ModelProto:
    """The ONNX graph of a network for one image size and any batch, batch norms folded; validated, not yet compared.

    Args:
        network: The derived network; not changed.
        size: (height, width) of the images in pixels.
        settings: Opset, precision and output.
    """
    import onnx

    from nas.exporting.onnx_graph import node_counts, to_float16, trace_onnx

    folded = fold_batch_norms(network)
    deployed = Labels(folded).eval() if settings.output == "labels" else folded
    model = trace_onnx(deployed, {INPUT: torch.zeros(1, 3, *size)}, output=settings.output, opset=settings.opset)
    if settings.precision == "fp16":
        to_float16(model)
    onnx.checker.check_model(model, full_check=True)
    assert batch_norms(folded) or "BatchNormalization" not in node_counts(model)
    return model


def odd_size(height: int, width: int, multiple: int = 1) -> tuple[int, int]:
    """A size with both sides odd, near the given one, the sides by unlike amounts, so that they round differently on the way down.

    Sides are cut to 256 first: float32 knows the places of pixels in a wide map to 1e-5 of a pixel only, in PyTorch as elsewhere,
    which shows where a map is resized by a ratio that is no whole number. Where sides have to be multiples of a number, they are
    odd multiples.

    >>> odd_size(96, 128), odd_size(45, 60), odd_size(1024, 2048), odd_size(64, 128, 64)
    ((99, 133), (47, 65), (259, 261), (192, 448))
    """
    height, width = (min(side, 256) // multiple for side in (height, width))
    return multiple * (height + 2 + (height + 1) % 2), multiple * (width + 4 + (width + 1) % 2)


def _class_names(job: ExportJob, genotype: Genotype, weights: Path, num_classes: int) -> list[str] | None:
    """Names of the classes: as given, or those of the data set that the weights come from; None: not known."""
    given = job.export.classes
    if given is not None:
        if len(given) != num_classes:
            raise ConfigError(f"export.classes: got {len(given)} names, expected {num_classes}, one for each class of the network")
        return list(given)
    known = known_classes(genotype, weights, num_classes).classes
    return None if known is None else list(known.names)


def _describe(
    model: ModelProto, genotype: Genotype, settings: ExportSettings, *, classes: Sequence[str] | None, num_classes: int
) -> None:
    """Put into the file what one needs to feed it and to know where it is from."""
    from nas.exporting.onnx_graph import add_metadata

    properties: dict[str, Any] = {
        **input_properties(),
        "output": settings.output,
        "precision": settings.precision,
        "num_classes": num_classes,
        "classes": classes,
        "space": genotype.space,
        "choices": genotype.choices,
        "provenance": _without_folders(genotype.provenance),
    }
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in properties.items() if value is not None}
    add_metadata(model, version=package_version() or "", properties=texts)


def _without_folders(value: Any) -> Any:
    """Plain data in which absolute paths are names of files: the folders of this machine are nobody else's business."""
    if isinstance(value, Mapping):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _facts(model: ModelProto, network: Network, settings: ExportSettings, *, classes: Sequence[str] | None) -> dict[str, Any]:
    from nas.exporting.onnx_graph import node_counts

    content, nodes = model.SerializeToString(), node_counts(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    with torch.device("meta"):
        deployed = Network(network.graph.deployed())
    return {
        "opset": model.opset_import[0].version,
        "ir_version": model.ir_version,
        "precision": settings.precision,
        "input": {**_end(model.graph.input[0]), **{key: metadata[key] for key in ("input_layout", "input_normalisation")}},
        "output": _end(model.graph.output[0]),
        "classes": classes,
        "parameters": sum(parameter.numel() for parameter in deployed.parameters()),
        "batch_norms_folded": batch_norms(deployed) - nodes.get("BatchNormalization", 0),
        "nodes": nodes,
        "file_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "made_by": provenance(**{name: version(name) for name in ("torch", *PACKAGES)}),
    }


def _end(value: Any) -> dict[str, Any]:
    """Name, shape and type of an input or output."""
    from onnx import helper

    tensor = value.type.tensor_type
    shape = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
    return {"name": value.name, "shape": shape, "dtype": str(helper.tensor_dtype_to_np_dtype(tensor.elem_type))}


def _write(result: ExportResult, model: ModelProto) -> ExportResult:
    """Write file and report; a file that failed its check does not get the name that a device would load."""
    passed = bool(result.report["passed"])
    (result.out / (REJECTED if passed else FILE_NAME)).unlink(missing_ok=True)
    target = result.out / (FILE_NAME if passed else REJECTED)
    write_bytes_atomic(target, model.SerializeToString())
    write_text_atomic(result.out / REPORT, json.dumps(result.report, indent=2, allow_nan=False) + "\n")
    if not passed:
        worst = next(found for found in result.agreements if not found.passed)
        at, remedy = "x".join(map(str, worst.input)), "; try export.precision=fp32" if result.report["precision"] == "fp16" else ""
        raise FailedCheckError(
            f"{target}: differs from PyTorch by {worst.max_abs_difference:.3g} at {at}, where the largest logit is "
            f"{worst.largest_logit:.3g}; expected at most {worst.allowed:.3g}; do not deploy it{remedy}; see {result.out / REPORT}"
        )
    return result
