"""Check the device, and train a round on a few photographs, from the message to the outbound rules."""

import re
import resource
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from flwr.app import Message, MessageType

from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Shard, Site
from teledx_fed.core.formatting import duration, size
from teledx_fed.core.reports import SILENT
from teledx_fed.core.updates import GlobalModel
from teledx_fed.deployment.site.checks.check import Check, Checks, fail, ok, warn, warn_if
from teledx_fed.deployment.site.joining import DRIVER
from teledx_fed.deployment.site.outbound_message import outbound_fault
from teledx_fed.deployment.site.settings import SiteDirectory
from teledx_fed.deployment.site.terms import data_refusal
from teledx_fed.federation import messages as wire
from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.federation.site import Hospital, client_app
from teledx_fed.model.network import build as build_network
from teledx_fed.model.runtime import has_cuda
from teledx_fed.training.compute import place
from teledx_fed.training.worker import Worker

MOST_PHOTOGRAPHS = 32


def device(directory: SiteDirectory) -> Checks:
    setting, driver = directory.settings.device, _driver()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about an old driver; the check below reports it
        usable = torch.cuda.is_available()
    if usable and setting != "cpu":
        yield from _gpu(directory, driver)
    elif setting == "cuda":
        yield fail("device", f"device: cuda, and {_why_not(driver)}", "Correct this, or write device: auto.")
    elif setting == "auto" and driver is not None:
        yield warn(
            "device", f"the CPU, though there is a GPU: {_why_not(driver)}", "Correct this, or write device: cpu."
        )
    else:
        yield ok("device", f"the CPU{'' if setting == 'cpu' else '; there is no GPU'}")


def _gpu(directory: SiteDirectory, driver: str | None) -> Iterator[Check]:
    card, share = torch.cuda.get_device_properties(0), directory.settings.limits.gpu_memory
    free, total = torch.cuda.mem_get_info(0)
    finding = f"{card.name}, {size(free)} of {size(total)} free, {size(share * total)} granted by limits.gpu_memory"
    yield ok("device", f"{finding}; driver {driver or 'unknown'}, CUDA {torch.version.cuda}")
    if not has_cuda():
        remedy = "Install onnxruntime-gpu in the place of onnxruntime."
        yield warn("device", "onnxruntime has no CUDA provider: frozen parts are computed on the CPU", remedy)


def _driver() -> str | None:
    """Return the version of the loaded NVIDIA driver."""
    version = re.search(r"\d+\.\d+[\d.]*", DRIVER.read_text()) if DRIVER.exists() else None
    return version[0] if version else None


def _why_not(driver: str | None) -> str:
    if torch.version.cuda is None:
        return "the torch installed here is built without CUDA"
    if driver is None:
        return "no NVIDIA driver is loaded"
    return f"torch cannot use it: driver {driver}, CUDA {torch.version.cuda} (CUDA_VISIBLE_DEVICES may hide it)"


def training(directory: SiteDirectory, site: Site, settings: Settings) -> Checks:
    """Train twice and time the second round, because the first warms up."""
    part = _part(site)
    worker = Worker(place(build_network(settings.model, settings.seed), settings, SILENT))
    if worker.network.device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(directory.settings.limits.gpu_memory)
    with TemporaryDirectory() as folder:
        hospital = Hospital(part, worker, settings, Path(folder))
        grid = InProcessGrid([client_app(lambda context: hospital)], [site.name])
        (node,) = grid.get_node_ids()
        message = _request(hospital, node)
        list(grid.send_and_receive([message]))
        before = worker.clock.seconds()
        (reply,) = grid.send_and_receive([message])
        after = worker.clock.seconds()
    if reply.has_error():
        remedy = "See above. If memory is too small, ask for smaller batches or lower limits.cores."
        yield fail("training", f"a step of training ended with {reply.error.reason}", remedy)
        return
    yield _seconds(site, part, settings, {phase: after[phase] - before[phase] for phase in after})
    yield _outbound(message, reply, hospital)
    yield from _limits(directory, site, settings)


def _limits(directory: SiteDirectory, site: Site, settings: Settings) -> Checks:
    train = site.shard.train
    patients = len({example.patient for example in train})
    refused = data_refusal(settings.local_training(1), len(train), patients, directory.settings.limits)
    if refused is not None:
        finding = f"training on {len(train)} photographs of {patients} patients is refused: {refused}"
        remedy = "Add photographs, ask the coordinator for another plan, or change limits in site.yaml."
        yield warn("limits", finding, remedy)


def _part(site: Site) -> Site:
    shard = site.shard
    return replace(site, shard=Shard(shard.train[:MOST_PHOTOGRAPHS], shard.validation[:MOST_PHOTOGRAPHS], ()))


def _request(hospital: Hospital, node: int) -> Message:
    model = GlobalModel(1, hospital.worker.initial.weights, 0)
    content = wire.train_request(model, hospital.settings.local_training(1))
    return Message(content, dst_node_id=node, message_type=MessageType.TRAIN)


def _seconds(site: Site, part: Site, settings: Settings, seconds: dict[str, float]) -> Check:
    photographs, validation = len(site.shard.train), len(site.shard.validation)
    a_photograph = seconds["training"] / len(part.shard.train)
    epoch, scoring = a_photograph * photographs, seconds["evaluation"] * validation / len(part.shard.validation)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    finding = (
        f"{1000 * a_photograph:.0f} ms a photograph; a round of one epoch over {photographs} takes about "
        f"{duration(epoch + scoring)}, {duration(scoring)} of it for validation; {size(peak)} of memory at the peak"
    )
    deadline = settings.federation.deadline_seconds
    remedy = f"Inform the coordinator: rounds end after {duration(deadline)} unless deadline_seconds is raised."
    return warn_if(epoch + scoring > deadline, "training", finding, remedy)


def _outbound(message: Message, reply: Message, hospital: Hospital) -> Check:
    reason = outbound_fault(reply, message, hospital, wire.training_of(message.content))
    if reason is not None:
        return fail("outbound", f"the update may not leave: {reason}", "Report it to the maintainers of teledx_fed.")
    return ok("outbound", "the outbound rules allow the update to leave")
