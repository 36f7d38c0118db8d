"""Names of tensors in the checkpoints that the official repository released (ashaw596/squeezenas, commit bdb2798)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

OfficialKeys = dict[str, tuple[str, ...]]

_CONV = ("weight",)
_BIASED = ("weight", "bias")
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

_INVERTED_RESIDUAL = {"expand": "0", "expand_bn": "1", "depthwise": "3", "depthwise_bn": "4", "project": "6", "project_bn": "7"}
_CONV_BN = {"conv": "conv", "bn": "bn"}
_NUMBERED = {"conv": "0", "bn": "1"}

_LR_ASPP: dict[str, tuple[str, dict[str, str] | None]] = {
    "branch": ("decoder._1x1_TL", _CONV_BN),
    "gate": ("decoder._1x1_BL", None),
    "scores": ("decoder._1x1_TR", None),
    "low_scores": ("decoder._1x1_BR", None),
}
_ASPP: dict[str, tuple[str, dict[str, str] | None]] = {
    "branch": ("decoder._1x1_1_conv", _CONV_BN),
    "context": ("decoder._1x1_2_conv", _CONV_BN),
    "detail": ("lowlevel1x1", None),
    "refine": ("logits2", _CONV_BN),
    "scores": ("logits3", None),
}


def block_keys(number: int, kind: str | None) -> OfficialKeys:
    """Our tensors of a block -> the official ones that they are made of, laid end to end along the channels.

    Args:
        number: Number of the block.
        kind: The operation that it decided on; None: it is the identity.
    """
    ours, theirs = f"block.{number}.op", f"encoder.residuals.{number}.op"
    if kind is None:
        return {}
    if kind == "inverted_residual":
        return _parts(ours, theirs, _INVERTED_RESIDUAL)
    if kind == "relu_conv_bn":
        return _parts(ours, f"{theirs}.op", {"conv": "1", "bn": "2"})
    assert kind == "factorized_reduce"
    keys: OfficialKeys = {
        f"{ours}.conv_even.weight": (f"{theirs}.conv_1.0.weight",),
        f"{ours}.conv_odd.weight": (f"{theirs}.conv_2.0.weight",),
    }
    keys.update({f"{ours}.bn.{name}": (f"{theirs}.conv_1.1.{name}", f"{theirs}.conv_2.1.{name}") for name in _NORM})
    return keys


def encoder_ends(*, last: bool) -> OfficialKeys:
    """Tensors of the stem and, if there is one, of the last convolution."""
    keys = _parts("stem.conv", "encoder.conv1", _NUMBERED)
    return keys | _parts("last.conv", "encoder.last_conv", _NUMBERED) if last else keys


def decoder_keys(decoder: str, rates: list[int]) -> OfficialKeys:
    """Tensors of a decoder; dilated branches are numbered from 1 in the order of their rates."""
    table = _LR_ASPP
    if decoder == "aspp":
        dilated = {f"rate_{rate}": (f"decoder._3x3_{i}_conv", _CONV_BN) for i, rate in enumerate(rates, start=1)}
        table = {**_ASPP, **dilated}
    keys: OfficialKeys = {}
    for ours, (theirs, parts) in table.items():
        prefix = f"decoder.{ours}"
        plain = {f"{prefix}.conv.{name}": (f"{theirs}.{name}",) for name in _BIASED}
        keys |= plain if parts is None else _parts(prefix, theirs, parts)
    return keys


def _parts(ours: str, theirs: str, names: Mapping[str, str]) -> OfficialKeys:
    """Convolutions without bias and batch norms, each under both of its names."""
    return dict(_pairs(ours, theirs, names))


def _pairs(ours: str, theirs: str, names: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for own, official in names.items():
        for tensor in _NORM if own.endswith("bn") else _CONV:
            yield f"{ours}.{own}.{tensor}", (f"{theirs}.{official}.{tensor}",)
