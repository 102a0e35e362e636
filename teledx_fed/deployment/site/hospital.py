"""Answer the coordinator's messages at a hospital: check them against approved plans, replies by the outbound rules."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import date, datetime
from importlib.metadata import version

import torch
from flwr.app import Context, Error, Message

from teledx_fed.config.data import DataSettings, PartitionSettings
from teledx_fed.config.run import SimulationSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.reports import LogReporter
from teledx_fed.data.hospitals import hospitals
from teledx_fed.deployment.common.audit import AuditLog
from teledx_fed.deployment.common.log_heads import LogHeads
from teledx_fed.deployment.common.plans import Plan, digest_of
from teledx_fed.deployment.common.receipts import RECEIVED, SENT, message_facts
from teledx_fed.deployment.common.refusal import Refusal
from teledx_fed.deployment.site import approvals, budget, lineage, questions
from teledx_fed.deployment.site.approvals import Approval
from teledx_fed.deployment.site.disk_space import has_room
from teledx_fed.deployment.site.monitoring import Outcome, Tally
from teledx_fed.deployment.site.outbound_message import outbound_fault
from teledx_fed.deployment.site.questions import TEST, TRAINING
from teledx_fed.deployment.site.request import Request, request_of
from teledx_fed.deployment.site.settings import SiteDirectory
from teledx_fed.deployment.site.terms import Today, as_ordered, data_refusal, plan_refusal, refusal
from teledx_fed.federation import messages as wire
from teledx_fed.federation.messages import model_of
from teledx_fed.federation.site import FAILED, Hospital, client_app
from teledx_fed.model.network import build as build_network
from teledx_fed.privacy.message_spec import kind_of
from teledx_fed.training.compute import place
from teledx_fed.training.worker import Worker

log = logging.getLogger(__name__)

REFUSED = 3
"""Code of the error reply to a refused message, beside `site.FAILED`."""
REFUSED_EVENT, FAILED_EVENT = "refused", "failed"
OUTCOMES: Mapping[str, Outcome] = {SENT: "answered", REFUSED_EVENT: "refused", FAILED_EVENT: "failed"}
RELEASE = version("teledx-fed")
MOST_REPLICATES = 2000
LONGEST_NAME = 64
"""Characters of a plan's digest or a run's name in the log: the server may have written anything."""


class Refused(Exception):
    def __init__(self, reason: Refusal, detail: str = "") -> None:
        """`detail` goes only to the hospital's own log."""
        super().__init__(detail or reason)
        self.reason = reason


class MessageHandler:
    """Answers messages for the hospital in `home`; reads its approvals and site.yaml again for each message."""

    def __init__(self, home: SiteDirectory, audit: AuditLog, tally: Tally) -> None:
        self._folder, self._audit, self._heads, self._tally = home.folder, audit, LogHeads(audit), tally
        self._app = client_app(self._of)
        self._begun: tuple[tuple[str, ...], Worker] | None = None
        self._held: tuple[tuple[str, frozenset[str]], Hospital] | None = None

    def __call__(self, message: Message, context: Context) -> Message:
        home = SiteDirectory(self._folder)
        site = home.settings.name
        seen, heads = self._heads.seen(site), self._heads.detach(message, site)
        facts = message_facts(message)
        by = {name: str(context.run_config.get(name, ""))[:LONGEST_NAME] for name in ("plan", "run")}
        self._audit.append(RECEIVED, site=site, **by, **facts, **heads)
        try:
            reply = self._answer(home, message, context, str(facts.get("digest")))
        except Refused as refused:
            log.warning("refused: %s", refused)
            reply = Message(Error(REFUSED, refused.reason.value), reply_to=message)
        except Exception as error:
            log.exception("a message could not be answered")
            reply = Message(Error(FAILED, kind_of(error)), reply_to=message)
        event = _event(reply)
        self._audit.append(event, site=site, **message_facts(reply))
        sent = wire.size(reply.content) if reply.has_content() else 0
        if heads and reply.has_content():
            self._heads.attach(reply, seen)
        self._tally.count(message.metadata.message_type, OUTCOMES[event], sent)
        return reply

    def _answer(self, home: SiteDirectory, message: Message, context: Context, digest: str) -> Message:
        now, asked = datetime.now(), _asked(message, context, digest)
        day = now.date()
        today = Today(lineage.rounds_on(home, day), questions.answered_on(home, day))
        _refuse(refusal(asked.release, RELEASE, asked.training is not None, home.settings, today, now))
        approval = _approval(home, asked, day)
        questions.count(home, day)
        settings = own_settings(_planned(home, approval.plan), home)
        _refuse(plan_refusal(settings, home.settings.limits))
        _check_question(home, asked, approval, settings)
        worker = self._worker(home, approval.plan, settings)
        _check_model(message, asked, worker)
        hospital = self._hospital(home, asked.run, worker, settings)
        self._spend(home, asked, hospital, day)
        reply = self._app(message, context)
        if reply.has_content() and (reason := outbound_fault(reply, message, hospital, asked.training)):
            raise Refused(Refusal.OUTBOUND, reason)
        return reply

    def _of(self, context: Context) -> Hospital:
        assert self._held is not None
        return self._held[1]

    def _worker(self, home: SiteDirectory, plan: Plan, settings: Settings) -> Worker:
        """Return the network that this hospital builds from the plan; it is kept until plan or settings change."""
        wanted = plan.digest, json.dumps(asdict(settings)), str(home.settings.limits.gpu_memory)
        if self._begun is None or self._begun[0] != wanted:
            self._begun = self._held = None  # free the old network before the new one is built
            network = place(build_network(settings.model, settings.seed), settings, LogReporter(log))
            if network.device.type == "cuda":
                torch.cuda.set_per_process_memory_fraction(home.settings.limits.gpu_memory)
            worker = Worker(network)
            if digest_of(worker.initial.weights) != plan.initial:
                raise Refused(Refusal.INITIAL, "the plan names other first weights than this machine builds from it")
            self._begun = wanted, worker
        return self._begun[1]

    def _hospital(self, home: SiteDirectory, run: str, worker: Worker, settings: Settings) -> Hospital:
        """Return the hospital with its photographs; it is kept until run, network or excluded patients change."""
        wanted = run, lineage.excluded(home)
        if self._held is None or self._held[0] != wanted or self._held[1].worker is not worker:
            if not has_room(home, settings):
                raise Refused(Refusal.ROOM)
            key, without = home.split_key.read_bytes(), lineage.excluded(home)
            sites = hospitals(settings, home.state, LogReporter(log), key, without)
            self._held = wanted, Hospital(sites[home.settings.name], worker, settings, home.run(run))
        return self._held[1]

    def _spend(self, home: SiteDirectory, asked: Request, hospital: Hospital, day: date) -> None:
        """Record the question before it is answered, or refuse it because of the hospital's data or its budget."""
        train, limits, question = hospital.site.shard.train, home.settings.limits, asked.question
        if question is None:
            return
        if asked.training is not None:
            patients = len({example.patient for example in train})
            _refuse(data_refusal(asked.training, len(train), patients, limits))
        if question.kind == TEST:
            spent = budget.spent(home, hospital.site, question.digest)
            if spent >= limits.test_answers:
                raise Refused(Refusal.TESTED)
            budget.record(home, hospital.site, question.digest, asked.plan, day)
            self._audit.append("test set", plan=asked.plan, run=asked.run, answers=spent + 1, of=limits.test_answers)
        questions.record(home, asked.run, asked.plan, question)
        if asked.training is not None:
            lineage.record(home, asked.run, question.round, day, train)


def own_settings(asked: Settings, home: SiteDirectory) -> Settings:
    """Combine a plan's network and training with the hospital's own data, split, outbound rules and device."""
    own = home.settings
    return Settings(
        seed=asked.seed,
        data=DataSettings(
            sources={own.name: own.data.source},
            on_bad=own.data.on_bad,
            workers=own.data.workers,
            cache=str(home.cache),
            image_size=asked.data.image_size,
            ben_graham=asked.data.ben_graham,
            clahe=asked.data.clahe,
        ),
        partition=PartitionSettings(validation=own.partition.validation, test=own.partition.test),
        model=asked.model,
        training=asked.training,
        strategy=asked.strategy,
        federation=asked.federation,
        outbound=own.outbound,  # with cells of many sizes, a coordinator could undo the rounding of counts
        evaluation=replace(  # no folds: over several runs they would test everyone, and train on everyone
            asked.evaluation, folds=1, fold=None, replicates=min(asked.evaluation.replicates, MOST_REPLICATES)
        ),
        simulation=SimulationSettings(threads=own.limits.cores, device=own.device),
        baselines=[],
    )


def _refuse(reason: Refusal | None) -> None:
    if reason is not None:
        raise Refused(reason)


def _asked(message: Message, context: Context, digest: str) -> Request:
    try:
        return request_of(message, context, digest)
    except (KeyError, ValueError, TypeError) as error:
        raise Refused(Refusal.REQUEST, f"a message that lacks something: {error}") from error


def _approval(home: SiteDirectory, asked: Request, today: date) -> Approval:
    approval = approvals.find(home, asked.plan)
    if approval is None:
        raise Refused(Refusal.PLAN)
    if not approval.in_force(today):
        raise Refused(Refusal.EXPIRED)
    return approval


def _planned(home: SiteDirectory, plan: Plan) -> Settings:
    """Return the settings of the approved plan; the server's message selects the plan by digest and no setting."""
    start = approvals.start_held(home, plan) if plan.file is not None else None
    if plan.file is not None and start is None:
        raise Refused(Refusal.START)
    return plan.asked(start)


def _check_question(home: SiteDirectory, asked: Request, approval: Approval, settings: Settings) -> None:
    if (question := asked.question) is None:
        return
    ordered = settings.local_training(question.round) if asked.training is not None else None
    if asked.training is not None and ordered is not None and not as_ordered(asked.training, ordered):
        raise Refused(Refusal.TRAINING, f"the plan does not ask for {asked.training}")
    rounds = settings.federation.rounds
    _refuse(questions.refusal(home, asked.run, asked.plan, question, rounds, approval.runs))


def _check_model(message: Message, asked: Request, worker: Worker) -> None:
    """Check that the model fits the plan's network, and is its first model in round 1 or before any training."""
    if (question := asked.question) is None:
        return
    try:
        model = model_of(message.content, worker.network.layout)
    except (KeyError, ValueError, TypeError) as error:
        raise Refused(Refusal.REQUEST, str(error)) from error
    first = question.trained_in == 0 or (question.kind == TRAINING and question.round == 1)
    if first and digest_of(model.weights) != digest_of(worker.initial.weights):
        raise Refused(Refusal.INITIAL, "weights that this machine does not build from the plan")


def _event(reply: Message) -> str:
    if not reply.has_error():
        return SENT
    return REFUSED_EVENT if reply.error.code == REFUSED else FAILED_EVENT
