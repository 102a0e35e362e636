# mypy: disable-error-code="import-not-found"
"""A site of the job as in NVFlare's hello-pt; the simulator runs this script in one process per site."""

import sys

import nvflare.client as flare
import torch

from benchmarks.jobs.loops import LOOPS
from benchmarks.jobs.task import sites


def main(name: str) -> None:
    loop = LOOPS[name]
    net = loop.network()
    flare.init()
    number = int(flare.get_site_name().removeprefix("site-")) - 1
    examples = len(sites()[number].shard.train)
    while flare.is_running():
        model = flare.receive()
        net.load_state_dict({name: torch.as_tensor(value) for name, value in model.params.items()})
        accuracy = loop.test(net, number)
        loop.train(net, number, model.current_round + 1)
        params = {name: tensor.detach().cpu().clone() for name, tensor in net.state_dict().items()}
        weight = {"NUM_STEPS_CURRENT_ROUND": examples}
        flare.send(flare.FLModel(params=params, metrics={"accuracy": accuracy}, meta=weight))


if __name__ == "__main__":
    main(sys.argv[1])
