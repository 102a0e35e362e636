"""This project's training function for a peer's runtime, with one resident network per process."""

from functools import cache

import numpy as np
import torch
from torch import nn

from benchmarks.jobs.task import settings, sites
from teledx_fed.core.examples import GRADES
from teledx_fed.model.network import Grader, build
from teledx_fed.training.inputs import PhotographInputs
from teledx_fed.training.local import Targets, learn


@cache
def network() -> Grader:
    return build(settings().model, seed=0)


def train(net: nn.Module, number: int, round: int) -> float:
    assert isinstance(net, Grader)
    site, training = sites()[number], settings().local_training(round)
    examples = site.shard.train
    targets = Targets.of(examples, net.head_type)
    return learn(net, PhotographInputs(site.images, examples), targets, training, site.name, round)


@torch.inference_mode()
def test(net: nn.Module, number: int) -> float:
    assert isinstance(net, Grader)
    site = sites()[number]
    inputs = PhotographInputs(site.images, site.shard.validation)
    net.eval()
    called = inputs.logits(net, np.arange(len(inputs)), None)[:, :GRADES].argmax(1)
    return float(np.mean([grade == example.grade for grade, example in zip(called, inputs.examples, strict=True)]))
