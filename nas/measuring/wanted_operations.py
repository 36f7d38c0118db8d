"""The operations that a profile job asks for."""

from __future__ import annotations

from dataclasses import dataclass

from nas.config.measuring_jobs import ProfileJob
from nas.data.classes.class_set import CAMVID
from nas.errors import ConfigError
from nas.ops.spec import OpSpec
from nas.space.deployment import Deployment
from nas.space.design import Design
from nas.space.search_space import SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The operations that a profile job asks for.

    Args:
        specs: What any network of the space can need, or the one network of a genotype.
        deployment: What they are deployed for.
    """

    specs: tuple[OpSpec, ...]
    deployment: Deployment


def wanted_by(job: ProfileJob, networks: SearchSpace | Design) -> Wanted:
    """The operations of a space's networks, or of a genotype's, that a job asks for.

    Raises:
        ConfigError: If neither states a shape.
    """
    if isinstance(networks, Design):
        design = networks.deployed(job.deploy.replacing(networks.deployment, job.num_classes))
        return Wanted(specs=tuple(dict.fromkeys(design.graph.specs())), deployment=design.deployment)
    if job.deploy.input is None:
        raise ConfigError(
            "deploy.input: got null, expected the size of the deployed network's input; "
            "give deploy.input=[HEIGHT,WIDTH], e.g. deploy.input=[360,480]"
        )
    classes = len(CAMVID.names) if job.num_classes is None else job.num_classes
    deployment = job.deploy.deployment(networks, classes)
    return Wanted(specs=networks.plan(deployment), deployment=deployment)
