"""Dropout as an operation: it takes part in training alone, and costs nothing once deployed."""

from __future__ import annotations

from torch import nn

from nas.ops.spec import DROPOUTS, OpSpec


def build_dropout(spec: OpSpec) -> nn.Module:
    """Zero values, or whole channels, with the probability that the kind names.

    Srivastava et al., "Dropout", JMLR 2014; of channels: Tompson et al., CVPR 2015, arXiv:1411.4280.
    """
    probability = DROPOUTS[spec.kind]
    return nn.Dropout2d(probability) if spec.kind.startswith("channel") else nn.Dropout(probability)
