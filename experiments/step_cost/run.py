"""Step time and peak memory of a supernet for each relaxation and execution: one process each, so that peaks do not mix.

python experiments/step_cost/run.py [--space lgcnet] [--size 180 240] [--batch 4] [--channels 8] [--steps 20] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

RELAXATIONS = ("soft", "hard", "sampled")
EXECUTIONS = ("reference", "fused")


def main() -> None:
    """Measure all relaxations in both executions and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="lgcnet")
    parser.add_argument("--size", nargs=2, type=int, default=[180, 240])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--channels", type=int, help="initial channels; the space's own where not given")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--relaxations", nargs="+", choices=RELAXATIONS, default=RELAXATIONS)
    parser.add_argument("--one", nargs=2, metavar=("RELAXATION", "EXECUTION"), help="measure only this pair, in this process")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments)))
        return
    print("| relaxation | execution | median s a step | p10 | p90 | peak memory beside the idle process, MiB |")
    print("|---|---|---|---|---|---|")
    for relaxation in arguments.relaxations:
        for execution in EXECUTIONS:
            command = [sys.executable, __file__, *sys.argv[1:], "--one", relaxation, execution]
            row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            times = " | ".join(f"{row[key]:.3f}" for key in ("median", "p10", "p90"))
            print(f"| {relaxation} | {execution} | {times} | {row['peak_mib']:.0f} |", flush=True)


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Times of whole optimisation steps, data apart."""
    import torch

    from nas.config import SearchJob
    from nas.data import build_dataset
    from nas.data.loader import train_loader
    from nas.data.synthetic import SyntheticConfig
    from nas.loop import make_fabric
    from nas.search import SearchTask
    from nas.settings import DeploySettings, LatencySettings, SearchSettings
    from search_spaces import all_spaces

    torch.set_num_threads(arguments.threads)
    relaxation, execution = arguments.one
    entry = all_spaces()[arguments.space]
    space = entry.build(entry.config())
    data = SyntheticConfig(size=arguments.size, train=arguments.batch, val=1, test=1)
    settings = SearchSettings(
        batch_size=arguments.batch,
        relaxation=relaxation,
        execution=execution,
        noise="batch" if relaxation == "sampled" else None,
        init_channels=arguments.channels,
        epochs=arguments.steps + 3,
    )
    job = SearchJob(space=space.config, data=data, search=settings, latency=LatencySettings(table="macs"), deploy=DeploySettings())
    dataset = build_dataset(data, "train")
    idle = peak_mib()
    task = SearchTask(job, space, train_set=dataset, val_set=dataset, fabric=make_fabric(job.trainer))
    images, labels = next(iter(train_loader(dataset, batch_size=arguments.batch, crop=None, seed=0, epoch=0)))
    times = []
    for step in range(arguments.steps + 3):
        started = time.perf_counter()
        task.step(images, labels, step)
        times.append(time.perf_counter() - started)
    deciles = statistics.quantiles(times[3:], n=10)
    return {"median": statistics.median(times[3:]), "p10": deciles[0], "p90": deciles[-1], "peak_mib": peak_mib() - idle}


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
