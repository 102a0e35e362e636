"""A hospital in a deployed federation: its own terms before what it is asked, its own rules behind what it answers."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version

import torch
from flwr.app import Context, Error, Message, MessageType

from teledx_fed.data.hospitals import hospitals
from teledx_fed.data_settings import DataSettings, PartitionSettings, SourceSettings
from teledx_fed.deployment import day_count, lineage
from teledx_fed.deployment.audit import AuditLog
from teledx_fed.deployment.metrics import Outcome, Tally
from teledx_fed.deployment.outgoing import outgoing, rules, told
from teledx_fed.deployment.receipts import RECEIVED, SENT
from teledx_fed.deployment.site_settings import SiteHome, checked_name
from teledx_fed.deployment.terms import Asked, Refusal, Today, as_ordered, refusal, too_many_batches
from teledx_fed.federation import messages as wire
from teledx_fed.federation.messages import training_of
from teledx_fed.federation.site import FAILED, STATISTICS, Hospital, client_app
from teledx_fed.model.network import build as build_network
from teledx_fed.privacy.outbound import kind_of
from teledx_fed.privacy.outbound import refusal as stopped
from teledx_fed.run_settings import EvaluationSettings, SimulationSettings
from teledx_fed.settings import Settings, build
from teledx_fed.training.compute import place
from teledx_fed.training.worker import Worker

log = logging.getLogger(__name__)

REFUSED = 3
"""As the code of an error reply, beside `site.FAILED`."""
REFUSED_EVENT, FAILED_EVENT = "refused", "failed"
OUTCOMES: Mapping[str, Outcome] = {SENT: "answered", REFUSED_EVENT: "refused", FAILED_EVENT: "failed"}
RELEASE = version("teledx-fed")
MOST_REPLICATES = 2000
OFFLINE = ("lite0", "none")
"""Initial weights that need no file of the coordinator's and no model hub."""


class Refused(Exception):
    def __init__(self, reason: Refusal, detail: str = "") -> None:
        """`detail` is for the hospital's own log."""
        super().__init__(detail or reason)
        self.reason = reason


class Gate:
    """Answers messages for the hospital in `home`, by its site.yaml as it stands at that moment."""

    def __init__(self, home: SiteHome, audit: AuditLog, tally: Tally) -> None:
        self._folder, self._audit, self._tally = home.folder, audit, tally
        self._app = client_app(self._hospital)
        self._held: tuple[tuple[str, str, frozenset[str]], Hospital] | None = None

    def __call__(self, message: Message, context: Context) -> Message:
        site = SiteHome(self._folder).settings.name
        self._audit.append(RECEIVED, site=site, **told(message))
        try:
            reply = self._answer(message, context)
        except Refused as refused:
            log.warning("refused: %s", refused)
            reply = Message(Error(REFUSED, refused.reason.value), reply_to=message)
        except Exception as error:
            log.exception("a message could not be answered")
            reply = Message(Error(FAILED, kind_of(error)), reply_to=message)
        event = _event(reply)
        self._audit.append(event, site=site, **told(reply))
        sent = wire.size(reply.content) if reply.has_content() else 0
        self._tally.count(message.metadata.message_type, OUTCOMES[event], sent)
        return reply

    def _answer(self, message: Message, context: Context) -> Message:
        home, now = SiteHome(self._folder), datetime.now()
        asked, day = _asked(message, context), now.date()
        today = Today(lineage.rounds_on(home, day), day_count.answered_on(home, day))
        if (reason := refusal(asked, home.settings, RELEASE, today, now)) is not None:
            raise Refused(reason)
        day_count.count(home, day)
        hospital = self._hospital(context)
        train = hospital.site.shard.train
        if asked.training is not None and too_many_batches(asked.training, len(train), home.settings):
            raise Refused(Refusal.BATCHES)
        if asked.training is not None:
            run, round = str(context.run_config["run"]), int(str(message.content["config"]["round"]))
            if not as_ordered(asked.training, hospital.settings.local_training(round)):
                raise Refused(Refusal.REQUEST, f"training that the run's settings do not ask for: {asked.training}")
            lineage.record(home, run, round, day, train)
        reply = self._app(message, context)
        if reply.has_content() and (stop := stopped(outgoing(reply), rules(message, hospital, asked.training))):
            raise Refused(Refusal.OUTBOUND, stop)
        return reply

    def _hospital(self, context: Context) -> Hospital:
        """The one of this run; it stays in memory until another run, other terms or other patients are asked for."""
        home, config = SiteHome(self._folder), context.run_config
        try:
            asked, run = build(json.loads(str(config["settings"]))), checked_name("run", str(config["run"]))
            settings = own_settings(asked, home)
        except (KeyError, ValueError) as error:
            raise Refused(Refusal.REQUEST, str(error)) from error
        if asked.model.initial not in OFFLINE:
            raise Refused(Refusal.NETWORK)
        if asked.data.image_size > home.settings.limits.image_size:
            raise Refused(Refusal.IMAGE_SIZE)
        wanted = run, json.dumps(asdict(settings)), lineage.excluded(home)
        if self._held is None or self._held[0] != wanted:
            self._held = None  # the old network goes before the new one comes
            self._held = wanted, _hospital(home, run, settings)
        return self._held[1]


def _hospital(home: SiteHome, run: str, settings: Settings) -> Hospital:
    network = place(build_network(settings.model, settings.seed), settings, log.info)
    if network.device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(home.settings.limits.gpu_memory)
    key, without = home.split_key.read_bytes(), lineage.excluded(home)
    sites = hospitals(settings, home.state, lambda done, total: None, log.info, key, without)
    return Hospital(sites[home.settings.name], Worker(network), settings, home.run(run))


def own_settings(asked: Settings, home: SiteHome) -> Settings:
    """What is asked decides the network and its training; where data lie, what leaves and what it runs on do not."""
    own = home.settings
    return Settings(
        seed=asked.seed,
        data=DataSettings(
            sources={own.name: SourceSettings(own.data.layout, own.data.root)},
            grading=own.data.grading,
            file_pattern=own.data.file_pattern,
            on_bad=own.data.on_bad,
            workers=own.data.workers,
            cache=str(home.cache),
            image_size=asked.data.image_size,
            ben_graham=asked.data.ben_graham,
            clahe=asked.data.clahe,
        ),
        partition=PartitionSettings(validation=asked.partition.validation, test=asked.partition.test),
        model=asked.model,
        training=asked.training,
        strategy=asked.strategy,
        federation=asked.federation,
        outbound=own.outbound,  # asked for cells of many sizes, the same counts would be rounded away one by one
        evaluation=EvaluationSettings(  # no folds: over several runs they would test everyone, and train on everyone
            target_sensitivity=asked.evaluation.target_sensitivity,
            referable_specificity=asked.evaluation.referable_specificity,
            urgent_specificity=asked.evaluation.urgent_specificity,
            fewest_positives=asked.evaluation.fewest_positives,
            replicates=min(asked.evaluation.replicates, MOST_REPLICATES),
        ),
        simulation=SimulationSettings(threads=own.limits.cores, device=own.device),
        baselines=[],
    )


def _asked(message: Message, context: Context) -> Asked:
    """Of a message of a kind that a hospital answers; any other is refused."""
    kind, config = message.metadata.message_type, context.run_config
    if kind not in (MessageType.TRAIN, MessageType.EVALUATE, STATISTICS):
        raise Refused(Refusal.REQUEST, f"a message of type {kind}")
    try:
        training = training_of(message.content) if kind == MessageType.TRAIN else None
        return Asked(str(config["experiment"]), str(config["release"]), training)
    except (KeyError, ValueError) as error:
        raise Refused(Refusal.REQUEST, f"a message without {error}") from error


def _event(reply: Message) -> str:
    if not reply.has_error():
        return SENT
    return REFUSED_EVENT if reply.error.code == REFUSED else FAILED_EVENT
