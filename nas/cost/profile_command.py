"""The command that measures what a table lacks."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from nas.cost import CostTable, LatencyTable
from nas.space.deployment import Deployment
from nas.space.genotype import Genotype

if TYPE_CHECKING:
    from nas.space.space_entry import SpaceEntry


def profile_words(config: Any, table: CostTable, deployment: Deployment, *, space: str | None = None) -> str:
    """The command that measures, on the table's device, everything that a space can need.

    Args:
        config: The space's config.
        table: The table; of another kind than measured ones no device is named.
        deployment: What its networks are deployed for.
        space: Name of the space; None: that of its config.
    """
    words, (height, width) = ["nas", "profile"], deployment.input
    if isinstance(table, LatencyTable):
        words += [f"device={table.device.name}", f"runtime={table.runtime.name}"]
    words += [
        f"space={space or config.name}",
        *_space_overrides(config),
        f"deploy.input=[{height},{width}]",
        f"deploy.init_channels={deployment.init_channels}",
        f"num_classes={deployment.num_classes}",
    ]
    return " ".join(words)


def _space_overrides(config: Any) -> list[str]:
    """An override for each setting of the space that is not its default, quoted for Hydra and the shell."""
    overrides = []
    for setting in fields(config):
        default = setting.default_factory() if setting.default_factory is not MISSING else setting.default
        value = getattr(config, setting.name)
        if value != default:
            overrides.append(shlex.quote(f"space.{setting.name}={json.dumps(value)}"))
    return overrides


def profile_command(genotype: Genotype, table: CostTable, spaces: Mapping[str, SpaceEntry]) -> str:
    """The command that measures, on the table's device, everything that the genotype's space can need at its shape."""
    config = spaces[genotype.space].config(**genotype.space_config)
    return profile_words(config, table, genotype.deploy, space=genotype.space)
