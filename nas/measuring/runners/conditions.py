"""The conditions of a measurement by the worker."""

from __future__ import annotations

from nas.cost.table_parts import RuntimeInfo
from nas.devices.this_machine import DeviceInfo, is_device_name
from nas.errors import ConfigError
from nas.files.shortening import shorten
from nas.measuring.effort import Effort, protocol_of
from nas.measuring.journal import Conditions
from nas.measuring.runners.request import Request
from nas.measuring.runners.worker_identity import Identity


def conditions_in(request: Request, identity: Identity, *, device: str | None = None) -> Conditions:
    """The conditions of a measurement in a place that says what it is on.

    Args:
        request: How is measured.
        identity: What the worker is on.
        device: A name for the device that counts before that of the request and the worker's own.

    Raises:
        ConfigError: If the name is none that a device can have.
    """
    name = device or request.device or identity.name
    if name is None:
        raise ConfigError("device: nothing there says what it is; give it a name: device=NAME")
    if not is_device_name(name):
        raise ConfigError(
            f"device: got {shorten(name)}, expected at most 100 lower-case letters, digits, '.', '_' and '-', the first "
            "a letter or digit; give device=NAME"
        )
    return Conditions(
        DeviceInfo(name=name, power_mode=identity.facts.get("power_mode"), clocks=identity.facts.get("clock_limits")),
        RuntimeInfo.of(request.runtime, version=identity.version),
        protocol_of(
            effort_in(request, identity),
            threads=request.runtime.threads,
            clock=identity.sample_clock,
            cuda_graphs=identity.cuda_graphs,
            is_program=identity.is_program,
            implementation=identity.implementation,
        ),
    )


def effort_in(request: Request, identity: Identity) -> Effort:
    """How long is measured in a place that says what it is on."""
    return request.program_effort if identity.is_program else request.effort
