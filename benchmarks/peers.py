"""One fine-tuning job, 8 sites × 5 rounds, by this project and its peers: seconds from start to final weights.

Each peer runs it twice: with the training loop of its own examples, and with ours, where every site also scores a model
each round. The network (EfficientNet-B0 at 96 px), photographs (already prepared), augmentation, batches, steps and two
cores are the same.

- Flower 1.41, Ray runtime, after its quickstart-pytorch: two sites at a time, one thread each.
- NVFlare 2.9.0, simulator, after its hello-pt: one process per site, one thread each.
- pfl-research 0.6.0, simulated backend, after its image benchmarks: one process, two threads.
- A plain loop, channels-last, two threads: the same steps without a federation, as the limit.
"""

from functools import partial

from benchmarks.jobs.launch import Job, medians, seconds_to_final_weights
from benchmarks.jobs.task import CORES, sites
from benchmarks.measure import print_result

REPEATS = 3

OURS = Job("ours", "model.safetensors")
PLAIN = Job("plain", "final_model.pt", threads=CORES)
PEERS = {
    "flower_ray": Job("flower_ray", "final_model.pt", "flower"),
    "nvflare": Job("nvflare_simulator", "FL_global_model.pt", "nvflare"),
    "pfl": Job("pfl_research", "checkpoint.pt", "pfl", threads=CORES),
}
BARS = {"flower_ray": 1.5, "nvflare": 1.5, "pfl": 1.1}
BAR_INSIDE = 0.97


def main() -> None:
    sites()  # draws and prepares the photographs before the measurements
    own_loop = {name: partial(seconds_to_final_weights, job, "own") for name, job in PEERS.items()}
    inside = {f"{name}_inside": partial(seconds_to_final_weights, job, "inside") for name, job in PEERS.items()}
    limits = {"ours": partial(seconds_to_final_weights, OURS), "plain": partial(seconds_to_final_weights, PLAIN)}
    seconds = medians({**limits, **own_loop, **inside}, REPEATS)
    print_result(
        "peers",
        {name: seconds[name] / seconds["ours"] for name in (*own_loop, *inside)},
        at_least=BARS | dict.fromkeys(inside, BAR_INSIDE),
        sides={f"{name}_seconds": taken for name, taken in seconds.items()},
    )


if __name__ == "__main__":
    main()
