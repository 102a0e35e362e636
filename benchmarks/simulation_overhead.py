"""Overhead of a runtime without training: 8 sites × 5 rounds of EfficientNet-B0's weights, without start-up.

Ours validates every update and writes a checkpoint per round. It is compared with Flower 1.41's Ray runtime with an app
as in quickstart-pytorch (named arrays, train and evaluate), two sites at a time; with pfl-research 0.6.0 without local
steps; and with our own apps on Flower's Ray runtime.
"""

from functools import partial

from benchmarks.jobs.launch import Job, measured_seconds, medians
from benchmarks.measure import print_result

REPEATS = 3


def main() -> None:
    seconds = medians(
        {
            "ours": partial(measured_seconds, Job("ours_idle", "seconds"), "in_process"),
            "ours_on_ray": partial(measured_seconds, Job("ours_idle", "seconds", "flower"), "ray"),
            "flower_ray": partial(measured_seconds, Job("flower_ray", "seconds", "flower"), "idle"),
            "pfl": partial(measured_seconds, Job("pfl_research", "seconds", "pfl", threads=2), "idle"),
        },
        REPEATS,
    )
    print_result(
        "simulation_overhead",
        {name: taken / seconds["ours"] for name, taken in seconds.items() if name != "ours"},
        at_least={"flower_ray": 30, "pfl": 1.0, "ours_on_ray": 1.0},
        sides={f"{name}_seconds": taken for name, taken in seconds.items()},
    )


if __name__ == "__main__":
    main()
