"""Overhead of a runtime without training: 8 sites × 5 rounds of EfficientNet-B0's weights, without start-up.

Ours validates every update and writes a checkpoint per round. It is compared with Flower 1.41's Ray runtime with an app
as in quickstart-pytorch (named arrays, train and evaluate), two sites at a time; with pfl-research 0.6.0 without local
steps; and with our own apps on Flower's Ray runtime.
"""

from functools import partial

from benchmarks.jobs.launch import Job, medians, seconds_told
from benchmarks.measure import tell

REPEATS = 3


def main() -> None:
    seconds = medians(
        {
            "ours": partial(seconds_told, Job("ours_idle", "seconds"), "in_process"),
            "ours_on_ray": partial(seconds_told, Job("ours_idle", "seconds", "flower"), "ray"),
            "flower_ray": partial(seconds_told, Job("flower_ray", "seconds", "flower"), "idle"),
            "pfl": partial(seconds_told, Job("pfl_research", "seconds", "pfl", threads=2), "idle"),
        },
        REPEATS,
    )
    tell(
        "simulation_overhead",
        {name: taken / seconds["ours"] for name, taken in seconds.items() if name != "ours"},
        at_least={"flower_ray": 30, "pfl": 1.0, "ours_on_ray": 1.0},
        sides={f"{name}_seconds": taken for name, taken in seconds.items()},
    )


if __name__ == "__main__":
    main()
