# mypy: disable-error-code="import-not-found, misc"
"""Apple's pfl-research: `python -m benchmarks.jobs.pfl_research LOOP FOLDER`. One process, one resident network.

pfl averages only parameters; BatchNorm statistics stay those of the previous site.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn
from torchvision.transforms import v2

from benchmarks.jobs.loops import LOOPS
from benchmarks.jobs.quickstart import AUGMENTED, NORMALISED
from benchmarks.jobs.task import BATCH_SIZE, LEARNING_RATE, MOMENTUM, ROUNDS, SITES, sites, stopwatch, tensors

augmented = v2.Compose([*AUGMENTED, *NORMALISED])
"""It transforms a whole batch in the same way, as in pfl's FLAIR benchmark."""
normalised = v2.Compose(NORMALISED)


class OursInside(FederatedAveraging):
    """Our training function in place of pfl's own SGD; a site first scores the received model, as in other runtimes."""

    def train_one_user(self, initial_model_state: Any, model: Any, user_dataset: Any, central_context: Any) -> Any:
        round = central_context.current_central_iteration + 1
        LOOPS["inside"].test(model.pytorch_model, int(user_dataset.user_id))
        LOOPS["inside"].train(model.pytorch_model, int(user_dataset.user_id), round)
        return model.get_model_difference(initial_model_state), Metrics()


def loss(net: nn.Module, images: Tensor, grades: Tensor) -> Tensor:
    net.train()
    return nn.functional.cross_entropy(net(augmented(images)), grades)


@torch.no_grad()
def metrics(net: nn.Module, prepare: v2.Transform, images: Tensor, grades: Tensor) -> dict[str, Weighted]:
    net.eval()
    return {"accuracy": Weighted(int((net(prepare(images)).argmax(1) == grades).sum()), len(grades))}


def nothing(images: Tensor, grades: Tensor) -> dict[str, Weighted]:
    return {"accuracy": Weighted(0, len(grades))}


def network(loop: str) -> nn.Module:
    net: Any = LOOPS[loop].network()
    own_loop, inside = partial(metrics, net, normalised), partial(metrics, net, v2.Identity())
    net.loss, net.metrics = partial(loss, net), {"own": own_loop, "inside": inside, "idle": nothing}[loop]
    return net


def users(split: str) -> FederatedDataset:
    datasets = {
        str(number): PyTorchTensorDataset(tensors(site, getattr(site.shard, split)), user_id=str(number))
        for number, site in enumerate(sites())
    }
    return FederatedDataset(datasets.__getitem__, get_user_sampler("minimize_reuse", list(datasets)))


def main(loop: str, folder: Path) -> None:
    net = network(loop)
    sgd = partial(torch.optim.SGD, momentum=MOMENTUM)
    model = PyTorchModel(net, sgd, torch.optim.SGD(net.parameters(), lr=1.0))
    backend = SimulatedBackend(users("train"), users("validation"), [WeightByDatapoints()])
    amount = {"local_num_epochs": None, "local_num_steps": 0} if loop == "idle" else {"local_num_epochs": 1}
    training = NNTrainHyperParams(local_learning_rate=LEARNING_RATE, local_batch_size=BATCH_SIZE, **amount)

    def rounds(count: int) -> None:
        algorithm = OursInside() if loop == "inside" else FederatedAveraging()
        params = NNAlgorithmParams(count, evaluation_frequency=count, train_cohort_size=SITES, val_cohort_size=None)
        algorithm.run(params, backend, model, training, NNEvalHyperParams(BATCH_SIZE))

    if loop == "idle":
        stopwatch(rounds, folder)
    else:
        rounds(ROUNDS)
        model.save(str(folder))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
