"""The command that measures what a table lacks."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from nas.cost import CostTable, LatencyTable
from nas.files.command_words import setting
from nas.space.deployment import Deployment


def profile_command(config: Any, table: CostTable, deployment: Deployment, *, given: str | None = None) -> str:
    """The command that measures everything that a space can need, on the table's device and into that very table.

    Args:
        config: The space's config.
        table: The table; of another kind than measured ones no device is named.
        deployment: What its networks are deployed for.
        given: The table as the user named it; None: it was not named.
    """
    words = ["nas", "profile"]
    if isinstance(table, LatencyTable):
        words += [setting("device", table.device.name), setting("runtime", table.runtime.name)]
    words += [
        f"space={config.name}",
        *space_overrides(config),
        setting("deploy.input", deployment.input),
        f"deploy.init_channels={deployment.init_channels}",
        f"num_classes={deployment.num_classes}",
    ]
    if isinstance(table, LatencyTable):
        defaults = {field.name: field.default for field in fields(table.protocol)}
        words.append(f"rounds={table.protocol.rounds}")
        words += [f"{key}={value}" for key in ("max_rounds", "ci") if (value := getattr(table.protocol, key)) != defaults[key]]
        if given is not None and Path(given).is_file():
            words.append(setting("out", given))
    return " ".join(words)


def space_overrides(config: Any) -> list[str]:
    """An override for each setting of the space that is not its default."""
    overrides = []
    for one in fields(config):
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        value = getattr(config, one.name)
        if value != default:
            overrides.append(setting(f"space.{one.name}", value))
    return overrides
