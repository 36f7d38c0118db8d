"""Process of a probe of `search plan=true`: a job as JSON from standard input, what was measured as the last line of output.

Run as `python -m nas.cli.probe_process`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nas.config.jobs import SearchJob
from nas.config.settings import DeploySettings, LatencySettings, SearchSettings, TrainerSettings
from nas.data import config_from_plain
from nas.probing.search_probe import measure
from nas.space.by_name import build_space, space_config
from search_spaces import all_spaces


def job_from_plain(plain: Mapping[str, Any]) -> SearchJob:
    """A job from plain data."""
    return SearchJob(
        space=space_config(plain["space"], all_spaces()),
        data=config_from_plain(plain["data"]),
        search=SearchSettings(**plain["search"]),
        latency=LatencySettings(**plain["latency"]),
        deploy=DeploySettings(**plain["deploy"]),
        trainer=TrainerSettings(**plain["trainer"]),
        seed=plain["seed"],
    )


def main() -> int:
    """Read the request, measure, print; the kernel should end this process first where memory runs out."""
    import nas.cli.hydra_app
    import nas.stages.search  # noqa: F401  what the command holds, too

    with suppress(OSError):  # not Linux: then it has no say
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    request = json.load(sys.stdin)
    job = job_from_plain(request["job"])
    probe = measure(job, build_space(job.space, all_spaces()), evaluates=request["evaluates"])
    sys.stdout.write(json.dumps(dataclasses.asdict(probe)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
