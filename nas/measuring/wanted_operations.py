"""The operations that a profile job asks for."""

from __future__ import annotations

from dataclasses import dataclass

from nas.config.measuring_jobs import ProfileJob
from nas.errors import ConfigError
from nas.ops.spec import OpSpec
from nas.space.deployment import Deployment
from nas.space.search_space import SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The operations that a profile job asks for.

    Args:
        specs: What any network of the space can need.
        deployment: What they are deployed for.
    """

    specs: tuple[OpSpec, ...]
    deployment: Deployment


def wanted_by(job: ProfileJob, space: SearchSpace) -> Wanted:
    """The operations that a job asks for; raises `ConfigError` if it states no shape."""
    if job.deploy.input is None:
        raise ConfigError(
            "deploy.input: got null, expected the size of the deployed network's input; "
            "give deploy.input=[HEIGHT,WIDTH], e.g. deploy.input=[360,480]"
        )
    deployment = job.deploy.deployment(space, job.num_classes)
    return Wanted(specs=space.plan(deployment), deployment=deployment)
