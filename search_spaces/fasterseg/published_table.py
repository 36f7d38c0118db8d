"""FasterSeg's published latency table as a latency table of ours (Chen et al., ICLR 2020, arXiv:1912.10917).

The authors keep a dictionary from text to milliseconds, written by `np.save`: a GTX 1080 Ti with TensorRT, fp32, one image, one
layer an engine, for networks of 1024x2048 images. A key is the name of a layer and its numbers, each after its letters, the sizes
being those of its input: `BasicResidual1x_H128_W256_Cin32_Cout48_stride1_dilation1`. A CSV file with a column each is read, too.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.cost.latency_table import LatencyTable
from nas.cost.published_format import PublishedTable
from nas.cost.table_parts import Entry, Origin, ProtocolInfo, RuntimeInfo
from nas.devices.runtime_name import RuntimeName
from nas.devices.this_machine import DeviceInfo
from nas.errors import TableError
from nas.files.shortening import shorten
from nas.ops.spec import OpSpec, out_size
from nas.space.deployment import Deployment
from search_spaces.fasterseg.npy_dict import read_npy_dict

DEVICE = "gtx-1080ti"
RUNTIME = RuntimeName(backend="tensorrt")
VERSION = "5.1.5"
"""Version of TensorRT, as the authors state it; the file has none."""
PUBLISHED_AT = "2019-12-23T00:00:00+00:00"
"""Day on which the paper appeared; the day of the measurement is not published."""
SOURCE = "FasterSeg (Chen et al., ICLR 2020, arXiv 1912.10917): the latency table of the authors' repository, VITA-Group/FasterSeg"
STATISTIC = "published mean, spread not published"
CAVEATS = (
    "measured_at is the day on which the paper appeared; when the table was measured is not published",
    "TensorRT of 2019 in fp32: later versions choose other kernels",
    "the zoomed convolutions that were timed resize to the nearest pixel, those that are trained bilinearly",
    "the skip of stride 2 that was timed is one 1x1 convolution, the one that is trained has two",
    "no entries for resizing, concatenation, argmax and heads: predictions and searches need another table for these",
)
"""Caveats of the table (Q22 of the README)."""

_SHAPE = ("H", "W", "Cin", "Cout")
_CELL = (*_SHAPE, "stride", "dilation")
LAYERS = {
    "ConvNorm": (*_SHAPE, "kernel", "stride"),
    "BasicResidual1x": _CELL,
    "BasicResidual2x": _CELL,
    "BasicResidual_downup_1x": _CELL,
    "BasicResidual_downup_2x": _CELL,
    "FactorizedReduce": (*_SHAPE, "stride"),
    "ff": ("H", "W", "C"),
    "head": _SHAPE,
}
"""Layer -> the numbers of its keys, in their order. Of several that are one operation of ours the first counts: stem and decoder
are made of `ConvNorm`, and it is there that the published networks have such operations."""
KINDS = {
    "ConvNorm": "conv_bn_relu",
    "BasicResidual1x": "conv_bn_relu",
    "BasicResidual2x": "conv_2x",
    "BasicResidual_downup_1x": "conv_downup",
    "BasicResidual_downup_2x": "conv_2x_downup",
    "FactorizedReduce": "reduce_bn_relu",
    "ff": "conv_bn_relu",
}
"""Layer -> kind of operation; a head is two of ours, a convolution and a classifier, and one number there."""
COLUMNS = ("op", "H_in", "W_in", "C_in", "C_out", "kernel", "stride", "dilation", "latency_ms")
"""Columns of the CSV file; empty where a layer has no such number."""

_COLUMN_OF = {"H": "H_in", "W": "W_in", "Cin": "C_in", "Cout": "C_out"}
_NUMBER = re.compile(r"[1-9][0-9]{0,5}")
_KEYS = {
    layer: re.compile(f"{layer}_" + "_".join(f"{letters}(?P<{letters}>{_NUMBER.pattern})" for letters in numbers))
    for layer, numbers in LAYERS.items()
}
_MAX_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class LutLayer:
    """Content of a key.

    Args:
        name: A key of `LAYERS`.
        numbers: Letters -> number; of `LAYERS`.
    """

    name: str
    numbers: Mapping[str, int]

    @classmethod
    def from_key(cls, key: str) -> LutLayer:
        """The layer of a key; raises `ValueError` if the text is none."""
        for name, pattern in _KEYS.items():
            if (match := pattern.fullmatch(key)) is not None:
                return cls(name, {letters: int(number) for letters, number in match.groupdict().items()})
        known = ", ".join(LAYERS)
        raise ValueError(
            f"got the key {shorten(key, limit=100)}, expected a layer ({known}) and its numbers, e.g. ff_H128_W256_C64"
        )

    @property
    def spec(self) -> OpSpec | None:
        """Our operation; None for those that are none of ours: heads, and skips of stride 1, which time nothing."""
        numbers = self.numbers
        stride = numbers.get("stride", 1)
        if self.name not in KINDS or (self.name == "FactorizedReduce" and stride == 1):
            return None
        one_pixel = self.name in ("ff", "FactorizedReduce")
        return OpSpec(
            kind=KINDS[self.name],
            in_channels=numbers.get("Cin", numbers.get("C", 0)),
            height=numbers["H"],
            width=numbers["W"],
            out_channels=numbers.get("Cout", numbers.get("C", 0)),
            out_height=out_size(numbers["H"], stride),
            out_width=out_size(numbers["W"], stride),
            kernel=numbers.get("kernel", 1 if one_pixel else 3),
            stride=stride,
            dilation=numbers.get("dilation", 1),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LutTable:
    """A published table as ours.

    Args:
        table: The table.
        left_out: Layer -> number of entries that are no operation of ours.
        doubled: Keys of our operations that two layers time; the table has the time of the first in `LAYERS`.
        largest_difference: Of these, as a share of the smaller; 0 if there are none.
    """

    table: LatencyTable
    left_out: Mapping[str, int]
    doubled: tuple[str, ...]
    largest_difference: float

    def notes(self) -> list[str]:
        """Lines on what became of the entries."""
        words = {
            "head": "heads, each a convolution and a classifier in one number",
            "FactorizedReduce": "skips of stride 1, which run nothing",
        }
        left = [f"{count} {words[layer]}" for layer, count in self.left_out.items()]
        lines = [f"left out: {'; '.join(left)}"] if left else []
        if self.doubled:
            lines.append(
                f"{len(self.doubled)} operations are there twice, in the stem or decoder and in cells, and differ by up to "
                f"{self.largest_difference:.1%}; the table has those of stem and decoder"
            )
        return lines


def read_lut(path: Path) -> dict[str, float]:
    """The entries of a published table: key -> ms.

    Args:
        path: A file ending in `.npy`, as the authors publish it, or in `.csv`.

    Raises:
        TableError: One line with the file and its first defect.
    """
    entries = read_npy_dict(path) if path.suffix.lower() == ".npy" else _read_csv(path)
    if not entries:
        raise TableError(f"{path}: got a table without entries, expected FasterSeg's")
    try:
        for key in entries:
            LutLayer.from_key(key)
    except ValueError as error:
        raise TableError(f"{path}: {error}") from error
    return entries


def lut_table(entries: Mapping[str, float], *, device: str = DEVICE) -> LutTable:
    """The latency table of published entries.

    Args:
        entries: What `read_lut` gives.
        device: Name of the device.

    Raises:
        ValueError: If a key is none, or the name is none of a device.
    """
    left_out: Counter[str] = Counter()
    times: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for key, ms in entries.items():
        layer = LutLayer.from_key(key)
        if (spec := layer.spec) is None:
            left_out[layer.name] += 1
        else:
            times[spec.key][layer.name] = ms
    doubled = {key: of.values() for key, of in times.items() if len(of) > 1}
    table = LatencyTable(
        device=DeviceInfo(name=device),
        runtime=RuntimeInfo.of(RUNTIME, version=VERSION),
        protocol=ProtocolInfo(
            warmup=10, rounds=1, max_rounds=1, calls="a timed loop of unknown length", statistic=STATISTIC, threads=RUNTIME.threads
        ),
        measured_at=PUBLISHED_AT,
        entries={key: _entry(of[min(of, key=list(LAYERS).index)]) for key, of in times.items()},
        origin=Origin(kind="published", source=SOURCE, caveats=CAVEATS),
    )
    return LutTable(
        table=table,
        left_out=dict(sorted(left_out.items())),
        doubled=tuple(sorted(doubled)),
        largest_difference=max((max(values) / min(values) - 1 for values in doubled.values()), default=0.0),
    )


def _entry(mean_ms: float) -> Entry:
    """A published mean; how well it is known is not published."""
    return Entry(mean_ms, mean_ms, mean_ms, 1, stable=False)


def _read_csv(path: Path) -> dict[str, float]:
    entries: dict[str, float] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            if (header := next(reader, [])) != list(COLUMNS):
                raise TableError(f"{path}: got the columns {shorten(','.join(header))}, expected {','.join(COLUMNS)}")
            for number, row in enumerate(reader, start=2):
                try:
                    key, ms = _csv_entry(row)
                    if key in entries or len(entries) >= _MAX_ROWS:
                        raise ValueError(f"got {key} twice" if key in entries else f"got more than {_MAX_ROWS} rows")
                except ValueError as error:
                    raise TableError(f"{path}: row {number}: {error}") from error
                entries[key] = ms
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); expected a CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: got no CSV in UTF-8 ({error}), expected the columns {','.join(COLUMNS)}") from error
    return entries


def _csv_entry(row: Sequence[str]) -> tuple[str, float]:
    """Key and ms of a row; raises `ValueError`."""
    if len(row) != len(COLUMNS):
        raise ValueError(f"got {len(row)} fields, expected {len(COLUMNS)}")
    fields = dict(zip(COLUMNS, row, strict=True))
    layer, text = fields.pop("op"), fields.pop("latency_ms")
    if layer not in LAYERS:
        raise ValueError(f"got op {shorten(layer)}, expected one of {', '.join(LAYERS)}")
    if layer == "ff" and fields["C_in"] == fields["C_out"]:
        fields["C"] = fields.pop("C_in")
        del fields["C_out"]
    numbers = {letters: fields.pop(_COLUMN_OF.get(letters, letters), "") for letters in LAYERS[layer]}
    for letters, number in numbers.items():
        if _NUMBER.fullmatch(number) is None:
            raise ValueError(f"{letters}: got {shorten(number)}, expected a whole number from 1 to 999999")
    if more := [column for column, value in fields.items() if value]:
        raise ValueError(f"got {', '.join(more)} for {layer}, which has {', '.join(LAYERS[layer])} alone")
    try:
        ms = float(text)
    except ValueError:
        ms = math.nan
    if not (math.isfinite(ms) and ms > 0):
        raise ValueError(f"latency_ms: got {shorten(text)}, expected a finite number above 0")
    return "_".join((layer, *(f"{letters}{number}" for letters, number in numbers.items()))), ms


def read_published(source: Path, device: str | None) -> tuple[LatencyTable, list[str]]:
    """The table of a file, and lines on what became of its entries; `device` replaces the name of the device."""
    lut = lut_table(read_lut(source), device=device or DEVICE)
    return lut.table, lut.notes()


PUBLISHED = PublishedTable(
    title="FasterSeg's published table",
    suffixes=(".csv", ".npy"),
    read=read_published,
    space="fasterseg",
    deployment=Deployment((1024, 2048), 12, 19),
)
"""The published table, for `nas profile import`."""
