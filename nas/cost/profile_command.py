"""The command that measures what a table lacks."""

from __future__ import annotations

import json
import shlex
from dataclasses import MISSING, fields
from typing import Any

from nas.cost import CostTable, LatencyTable
from nas.space.deployment import Deployment


def profile_words(config: Any, table: CostTable, deployment: Deployment) -> str:
    """The command that measures, on the table's device, everything that a space can need.

    Args:
        config: The space's config.
        table: The table; of another kind than measured ones no device is named.
        deployment: What its networks are deployed for.
    """
    words, (height, width) = ["nas", "profile"], deployment.input
    if isinstance(table, LatencyTable):
        words += [f"device={table.device.name}", f"runtime={table.runtime.name}"]
    words += [
        f"space={config.name}",
        *space_overrides(config),
        f"deploy.input=[{height},{width}]",
        f"deploy.init_channels={deployment.init_channels}",
        f"num_classes={deployment.num_classes}",
    ]
    return " ".join(words)


def space_overrides(config: Any) -> list[str]:
    """An override for each setting of the space that is not its default, quoted for Hydra and the shell."""
    overrides = []
    for setting in fields(config):
        default = setting.default_factory() if setting.default_factory is not MISSING else setting.default
        value = getattr(config, setting.name)
        if value != default:
            overrides.append(shlex.quote(f"space.{setting.name}={json.dumps(value)}"))
    return overrides
