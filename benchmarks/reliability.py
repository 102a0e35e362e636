"""Inject faults into a running federation of three hospitals: `python -m benchmarks.reliability [FAULT …]`.

Without a name, inject all of them, and rewrite their section of docs/results/reliability.md.
"""

import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.jobs.deployed import Federation, running
from benchmarks.jobs.wire_tap import WireTap, tapped
from benchmarks.measure import machine
from benchmarks.sections import RESULTS, write_section

SITES = ("north", "south", "east")
ROUNDS = 4
TINY = ("model.name=test_efficientnet", "model.initial=none")
OVERRIDES = (*TINY, f"federation.rounds={ROUNDS}", "federation.quorum=2", "federation.deadline_seconds=200")

HEAD = """## What a federation survives

Each fault below happens in a real run of three hospitals and four rounds on one machine: a SuperLink and three
SuperNodes with TLS and keys, a quorum of two, a deadline of 200 s. It happens after the first round. The final weights
are compared with those of the same run without the fault: equal bit for bit, or different if a hospital missed a round.

```sh
python -m benchmarks.reliability
```

On {machine}.

| fault | what happened | completed rounds lost | final weights |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Scene:
    federation: Federation
    tap: WireTap
    run: str


def server_dies(scene: Scene) -> None:
    scene.federation.kill("server")
    scene.federation.serve()
    scene.federation.resume(scene.run)


def app_dies(scene: Scene) -> None:
    scene.federation.kill_child("server", "flwr-serverapp")
    time.sleep(2)
    scene.federation.resume(scene.run)


def site_dies(scene: Scene) -> None:
    scene.federation.kill("north")
    scene.federation.join("north")


def supernode_dies(scene: Scene) -> None:
    scene.federation.kill_child("north", "teledx_fed.deployment.site.supernode")


def site_hangs(scene: Scene) -> None:
    scene.federation.kill("north", signal.SIGSTOP)
    time.sleep(15)
    scene.federation.kill("north", signal.SIGCONT)


def site_hangs_past_the_deadline(scene: Scene) -> None:
    scene.federation.kill("north", signal.SIGSTOP)
    scene.federation.wait_for_rounds(scene.run, 2, seconds=300)
    scene.federation.kill("north", signal.SIGCONT)


def network_is_lost_mid_upload(scene: Scene) -> None:
    scene.tap.bytes_until_cut = 100_000
    scene.tap.cut.wait(60)
    time.sleep(10)
    scene.tap.mend()


def cache_is_emptied(scene: Scene) -> None:
    scene.federation.kill("north")
    scene.federation.empty_cache("north")
    scene.federation.join("north")


def disk_is_full(scene: Scene) -> None:
    """Forbid the hospital's files to grow, and later allow it again."""
    scene.federation.bound("north", resource.RLIMIT_FSIZE, 0)
    scene.federation.wait_for_rounds(scene.run, 2, seconds=300)
    scene.federation.bound("north", resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)


FAULTS: dict[str, Callable[[Scene], None]] = {
    "the server process is killed (`kill -9`), started again, the run resumed": server_dies,
    "the process of the run is killed (`kill -9`), the run resumed": app_dies,
    "a hospital's process is killed (`kill -9`) and started again": site_dies,
    "its SuperNode alone is killed (`kill -9`)": supernode_dies,
    "a hospital hangs for 15 s (`SIGSTOP`)": site_hangs,
    "a hospital hangs until the deadline is over": site_hangs_past_the_deadline,
    "the network is lost in the middle of an upload, for 10 s": network_is_lost_mid_upload,
    "a hospital comes back with an empty cache": cache_is_emptied,
    "a hospital's disk is full for a round": disk_is_full,
}


def row(scene: Scene, name: str, fault: Callable[[Scene], None], reference: bytes) -> str:
    federation, run = scene.federation, scene.run
    federation.order(run, *OVERRIDES)
    federation.wait_for_rounds(run, 1)
    fault(scene)
    model = federation.wait_until_done(run, seconds=600)
    rounds = federation.rounds(run)
    lost = ROUNDS + 1 - len({line["round"] for line in rounds})
    missed = [
        f"round {line['round']} without {site} ({reason})"
        for line in rounds
        for site, reason in {**line["refused"], **dict.fromkeys(line["silent"], "silent")}.items()
    ]
    equal = "equal" if model.read_bytes() == reference else "others"
    return f"| {name} | {'; '.join(missed) or 'every hospital in every round'} | {lost} | {equal} |"


def main(wanted: Sequence[str]) -> None:
    rows = []
    with (
        TemporaryDirectory() as folder,
        running(Path(folder)) as federation,
        tapped(federation.server / "certificates", federation.port) as tap,
    ):
        for name in SITES:
            federation.enrol(name, port=tap.port if name == "north" else None)
            federation.join(name)
        federation.order("reference", *OVERRIDES)
        reference = federation.wait_until_done("reference").read_bytes()
        for number, (name, fault) in enumerate(FAULTS.items()):
            if not wanted or fault.__name__ in wanted:
                rows.append(row(Scene(federation, tap, f"fault-{number}"), name, fault, reference))
                print(rows[-1], flush=True)
    if not wanted:
        write_section(RESULTS / "reliability.md", "federation", page(rows))


def page(rows: Sequence[str]) -> str:
    return HEAD.format(machine=machine()) + "\n".join(rows) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
