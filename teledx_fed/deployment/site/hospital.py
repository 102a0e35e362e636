"""Answer the coordinator's messages at a hospital: check them against approved plans, replies by the outbound rules."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import date, datetime

import torch
from flwr.app import Context, Error, Message

from teledx_fed.config.data import DataSettings, PartitionSettings
from teledx_fed.config.run import SimulationSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.reports import LogReporter
from teledx_fed.data.hospitals import hospitals
from teledx_fed.deployment.common.log_heads import LogHeads
from teledx_fed.deployment.common.plans import Plan, digest_of
from teledx_fed.deployment.common.receipts import RECEIVED, SENT, message_facts
from teledx_fed.deployment.common.refusal import Refusal
from teledx_fed.deployment.common.settings import RELEASE
from teledx_fed.deployment.site import approvals, budget, lineage, questions
from teledx_fed.deployment.site.approvals import Approval
from teledx_fed.deployment.site.disk_space import has_room
from teledx_fed.deployment.site.monitoring import Outcome, Tally
from teledx_fed.deployment.site.outbound_message import outbound_fault
from teledx_fed.deployment.site.questions import QuestionKind
from teledx_fed.deployment.site.request import Request, request_of
from teledx_fed.deployment.site.settings import SiteDirectory
from teledx_fed.deployment.site.terms import Today, data_refusal, plan_refusal, refusal, same_training
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
MOST_REPLICATES = 2000
LONGEST_NAME = 64
"""Characters of a plan's digest or a run's name in the log: the server may have written anything."""


class MessageRefused(Exception):
    def __init__(self, reason: Refusal, detail: str = "") -> None:
        """`detail` goes only to the hospital's own log."""
        super().__init__(detail or reason)
        self.reason = reason


class MessageHandler:
    """Answers messages for the hospital in `directory`; reads its approvals and site.yaml again for each message."""

    def __init__(self, directory: SiteDirectory, tally: Tally) -> None:
        self._folder, self._audit, self._tally = directory.folder, directory.audit_log, tally
        self._heads = LogHeads(self._audit)
        self._app = client_app(self._current)
        self._built: tuple[tuple[str, ...], Worker] | None = None
        self._loaded: tuple[tuple[str, frozenset[str]], Hospital] | None = None

    def __call__(self, message: Message, context: Context) -> Message:
        directory = SiteDirectory(self._folder)
        site = directory.settings.name
        acknowledged, heads = self._heads.received(site), self._heads.detach(message, site)
        facts = message_facts(message)
        by = {name: str(context.run_config.get(name, ""))[:LONGEST_NAME] for name in ("plan", "run")}
        self._audit.append(RECEIVED, site=site, **by, **facts, **heads)
        try:
            reply = self._answer(directory, message, context, str(facts.get("digest")))
        except MessageRefused as error:
            log.warning("refused: %s", error)
            reply = Message(Error(REFUSED, error.reason.value), reply_to=message)
        except Exception as error:
            log.exception("a message could not be answered")
            reply = Message(Error(FAILED, kind_of(error)), reply_to=message)
        event = _event(reply)
        self._audit.append(event, site=site, **message_facts(reply))
        sent = wire.size(reply.content) if reply.has_content() else 0
        if heads and reply.has_content():
            self._heads.attach(reply, acknowledged)
        self._tally.count(message.metadata.message_type, OUTCOMES[event], sent)
        return reply

    def _answer(self, directory: SiteDirectory, message: Message, context: Context, digest: str) -> Message:
        now, request = datetime.now(), _parsed(message, context, digest)
        day = now.date()
        today = Today(lineage.rounds_on(directory, day), questions.answered_on(directory, day))
        _refuse(refusal(request.release, RELEASE, request.training is not None, directory.settings, today, now))
        approval = _approval(directory, request, day)
        questions.count(directory, day)
        settings = own_settings(_planned(directory, approval.plan), directory)
        _refuse(plan_refusal(settings, directory.settings.limits))
        _check_question(directory, request, approval, settings)
        worker = self._worker(directory, approval.plan, settings)
        _check_model(message, request, worker)
        hospital = self._hospital(directory, request.run, worker, settings)
        self._spend(directory, request, hospital, day)
        reply = self._app(message, context)
        if not reply.has_content():
            return reply
        reply = Message(wire.plain(reply.content), reply_to=message)
        if reason := outbound_fault(reply, message, hospital, request.training):
            raise MessageRefused(Refusal.OUTBOUND, reason)
        return reply

    def _current(self, context: Context) -> Hospital:
        assert self._loaded is not None
        return self._loaded[1]

    def _worker(self, directory: SiteDirectory, plan: Plan, settings: Settings) -> Worker:
        """Return the network that this hospital builds from the plan; it is kept until plan or settings change."""
        key = plan.digest, json.dumps(asdict(settings)), str(directory.settings.limits.gpu_memory)
        if self._built is None or self._built[0] != key:
            self._built = self._loaded = None  # free the old network before the new one is built
            network = place(build_network(settings.model, settings.seed), settings, LogReporter(log))
            if network.device.type == "cuda":
                torch.cuda.set_per_process_memory_fraction(directory.settings.limits.gpu_memory)
            worker = Worker(network)
            if digest_of(worker.initial.weights) != plan.initial:
                raise MessageRefused(Refusal.INITIAL, "this machine builds other first weights from the plan")
            self._built = key, worker
        return self._built[1]

    def _hospital(self, directory: SiteDirectory, run: str, worker: Worker, settings: Settings) -> Hospital:
        """Return the hospital with its photographs; it is kept until run, network or excluded patients change."""
        key = run, lineage.excluded(directory)
        if self._loaded is None or self._loaded[0] != key or self._loaded[1].worker is not worker:
            if not has_room(directory, settings):
                raise MessageRefused(Refusal.ROOM)
            split_key, withdrawn = directory.split_key.read_bytes(), lineage.excluded(directory)
            sites = hospitals(settings, directory.state, LogReporter(log), split_key, withdrawn)
            self._loaded = key, Hospital(sites[directory.settings.name], worker, settings, directory.run(run))
        return self._loaded[1]

    def _spend(self, directory: SiteDirectory, request: Request, hospital: Hospital, day: date) -> None:
        """Record the question before it is answered, or refuse it because of the hospital's data or its budget."""
        train, limits, question = hospital.site.shard.train, directory.settings.limits, request.question
        if question is None:
            return
        if request.training is not None:
            patients = len({example.patient for example in train})
            _refuse(data_refusal(request.training, len(train), patients, limits))
        if question.kind is QuestionKind.TEST:
            spent = budget.spent(directory, hospital.site, question.digest)
            if spent >= limits.test_answers:
                raise MessageRefused(Refusal.TESTED)
            budget.record(directory, hospital.site, question.digest, request.plan, day)
            facts = {"plan": request.plan, "run": request.run, "answers": spent + 1, "of": limits.test_answers}
            self._audit.append("test set", **facts)
        questions.record(directory, request.run, request.plan, question)
        if request.training is not None:
            lineage.record(directory, request.run, question.round, day, train)


def own_settings(settings: Settings, directory: SiteDirectory) -> Settings:
    """Combine a plan's network and training with the hospital's own data, split, outbound rules and device."""
    site_settings = directory.settings
    return Settings(
        seed=settings.seed,
        data=DataSettings(
            sources={site_settings.name: site_settings.data.source},
            on_bad=site_settings.data.on_bad,
            workers=site_settings.data.workers,
            cache=str(directory.cache),
            image_size=settings.data.image_size,
            ben_graham=settings.data.ben_graham,
            clahe=settings.data.clahe,
        ),
        partition=PartitionSettings(validation=site_settings.partition.validation, test=site_settings.partition.test),
        model=settings.model,
        training=settings.training,
        strategy=settings.strategy,
        federation=settings.federation,
        outbound=site_settings.outbound,  # with cells of many sizes, a coordinator could undo the rounding of counts
        evaluation=replace(  # no folds: over several runs they would test everyone, and train on everyone
            settings.evaluation, folds=1, fold=None, replicates=min(settings.evaluation.replicates, MOST_REPLICATES)
        ),
        simulation=SimulationSettings(threads=site_settings.limits.cores, device=site_settings.device),
        baselines=[],
    )


def _refuse(reason: Refusal | None) -> None:
    if reason is not None:
        raise MessageRefused(reason)


def _parsed(message: Message, context: Context, digest: str) -> Request:
    try:
        return request_of(message, context, digest)
    except (KeyError, ValueError, TypeError) as error:
        raise MessageRefused(Refusal.REQUEST, f"an incomplete message: {error}") from error


def _approval(directory: SiteDirectory, request: Request, today: date) -> Approval:
    approval = approvals.find(directory, request.plan)
    if approval is None:
        raise MessageRefused(Refusal.PLAN)
    if not approval.in_force(today):
        raise MessageRefused(Refusal.EXPIRED)
    return approval


def _planned(directory: SiteDirectory, plan: Plan) -> Settings:
    """Return the settings of the approved plan; the server's message selects the plan by digest and no setting."""
    start = approvals.local_start(directory, plan) if plan.file is not None else None
    if plan.file is not None and start is None:
        raise MessageRefused(Refusal.START)
    return plan.run_settings(start)


def _check_question(directory: SiteDirectory, request: Request, approval: Approval, settings: Settings) -> None:
    if (question := request.question) is None:
        return
    planned = settings.local_training(question.round) if request.training is not None else None
    if request.training is not None and planned is not None and not same_training(request.training, planned):
        raise MessageRefused(Refusal.TRAINING, f"the plan has other training than {request.training}")
    rounds = settings.federation.rounds
    _refuse(questions.refusal(directory, request.run, request.plan, question, rounds, approval.runs))


def _check_model(message: Message, request: Request, worker: Worker) -> None:
    """Check that the model fits the plan's network, and is its first model in round 1 or before any training."""
    if (question := request.question) is None:
        return
    try:
        model = model_of(message.content, worker.network.layout)
    except (KeyError, ValueError, TypeError) as error:
        raise MessageRefused(Refusal.REQUEST, str(error)) from error
    first = question.trained_in == 0 or (question.kind is QuestionKind.ROUND and question.round == 1)
    if first and digest_of(model.weights) != digest_of(worker.initial.weights):
        raise MessageRefused(Refusal.INITIAL, "weights that this machine does not build from the plan")


def _event(reply: Message) -> str:
    if not reply.has_error():
        return SENT
    return REFUSED_EVENT if reply.error.code == REFUSED else FAILED_EVENT
