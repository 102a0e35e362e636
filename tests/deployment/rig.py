"""A hospital's message handler with synthetic photographs, and a server that may send any message."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from omegaconf import OmegaConf

from benchmarks.jobs.deployed import LIMITS
from benchmarks.jobs.processes import draw_photographs
from teledx_fed.config.settings import Settings
from teledx_fed.core.updates import GlobalModel
from teledx_fed.core.weights import Weights
from teledx_fed.deployment.common.plans import Plan
from teledx_fed.deployment.common.refusal import Refusal
from teledx_fed.deployment.common.settings import RELEASE
from teledx_fed.deployment.site import approvals
from teledx_fed.deployment.site.hospital import REFUSED, MessageHandler
from teledx_fed.deployment.site.layout import init_site
from teledx_fed.deployment.site.monitoring import Tally
from teledx_fed.deployment.site.settings import SiteDirectory
from teledx_fed.federation import messages as wire
from teledx_fed.federation.in_process import SERVER, InProcessGrid
from teledx_fed.model.network import build as build_network
from teledx_fed.training.worker import Worker

NORTH = SERVER + 1


class Rig:
    """A hospital in `folder` that approved the plan of `settings`, and a server that sends it messages."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        draw_photographs(folder / "photographs", "north", 30)
        (folder / "ca.crt").write_text("")
        self.directory, self.settings = SiteDirectory(folder / "site"), settings
        init_site(self.directory, "north", "localhost:9092", folder / "ca.crt")
        self.change(
            data={"root": str(folder / "photographs")}, limits=LIMITS, outbound={"min_patients": 2}, device="cpu"
        )
        self.handler = MessageHandler(self.directory, Tally())
        self.worker = Worker(build_network(settings.model, settings.seed))
        self.plan = self.approved(settings)

    def change(self, **settings: Any) -> None:
        file = self.directory.folder / "site.yaml"
        OmegaConf.save(OmegaConf.merge(OmegaConf.load(file), settings), file)

    def approved(self, settings: Settings, runs: int = 1) -> Plan:
        """Approve the plan of such a run and return it."""
        initial = Worker(build_network(settings.model, settings.seed)).initial.weights
        plan = Plan.of(settings, RELEASE, "test", initial)
        approvals.approve(SiteDirectory(self.directory.folder), plan, "R1", "2099-01-01", runs)
        return plan

    def grid(self, **changed: str) -> InProcessGrid:
        app: ClientApp = self.handler  # type: ignore[assignment]  # it is called like a ClientApp
        return InProcessGrid(
            [app], ["north"], {"plan": self.plan.digest, "run": "first", "release": RELEASE, **changed}
        )

    def content(self, weights: Weights | None = None, round: int = 1, trained_in: int = 0, **config: Any) -> RecordDict:
        """Return the server's request in a round of the plan, with these values in place of its own."""
        model = GlobalModel(round, weights or self.worker.initial.weights, trained_in)
        content = wire.train_request(model, self.settings.local_training(round))
        content[wire.CONFIG] = ConfigRecord({**content.config_records[wire.CONFIG], **config})
        return content

    def crafted(self) -> Weights:
        """Return weights other than those of round 1."""
        weights = self.worker.initial.weights
        return replace(weights, parameters=weights.parameters * 2)

    def answer(self, content: RecordDict, kind: str = "train", **changed: str) -> Message:
        (reply,) = self.grid(**changed).send_and_receive([Message(content, dst_node_id=NORTH, message_type=kind)])
        return reply


def assert_refused(reply: Message, reason: Refusal) -> None:
    assert reply.has_error()
    assert (reply.error.code, reply.error.reason) == (REFUSED, reason.value)
