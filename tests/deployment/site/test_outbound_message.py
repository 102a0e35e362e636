"""The specification of a reply is the same at the hospital and at the server, and there is none for other messages."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from rig import Rig, assert_refused

from teledx_fed.config.settings import Settings
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Site
from teledx_fed.core.updates import GlobalModel
from teledx_fed.deployment.common.refusal import Refusal
from teledx_fed.deployment.site.outbound_message import outbound_fault
from teledx_fed.federation import messages as wire
from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.federation.replies import UpdateSpec, validate_update
from teledx_fed.federation.site import Hospital
from teledx_fed.model.network import build
from teledx_fed.privacy.message_spec import Unreadable
from teledx_fed.training.worker import Worker


@pytest.fixture
def hospital(tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site], tmp_path: Path) -> Hospital:
    settings = tiny_settings()
    return Hospital(tiny_site("north", 5), Worker(build(settings.model, settings.seed)), settings, tmp_path)


@pytest.fixture
def rig(tiny_settings: Callable[..., Settings], tmp_path: Path) -> Rig:
    return Rig(tmp_path, tiny_settings(data__hospitals={}, data__sources={}, outbound__min_patients=2))


def request(hospital: Hospital, message_type: str, split: str = "validation") -> Message:
    content = wire.train_request(
        GlobalModel(1, hospital.worker.initial.weights, 0), hospital.settings.local_training(1)
    )
    content[wire.CONFIG] = ConfigRecord({**content.config_records[wire.CONFIG], "split": split})
    (node,) = InProcessGrid([], ["north"]).get_node_ids()
    return Message(content, dst_node_id=node, message_type=message_type)


def test_both_sides_accept_an_update_and_refuse_one_count_more(hospital: Hospital) -> None:
    message, start = request(hospital, MessageType.TRAIN), hospital.worker.initial.weights
    training, photographs = hospital.settings.local_training(1), len(hospital.site.shard)
    spec = UpdateSpec(1, start.layout, hospital.settings.model.head).of_site(photographs)
    content = hospital.train(message)
    assert outbound_fault(Message(content, reply_to=message), message, hospital, training) is None
    assert not isinstance(validate_update(content, spec, start, (np.inf, np.inf)), str)
    content.metric_records[wire.METRICS]["oedema-examples"] = len(hospital.site.shard.train) + 1
    reason = validate_update(content, spec, start, (np.inf, np.inf))
    assert outbound_fault(Message(content, reply_to=message), message, hospital, training) == reason
    assert "oedema-examples must lie in" in str(reason)


def test_no_reply_leaves_to_a_message_without_a_specification(hospital: Hospital) -> None:
    message = request(hospital, "query.photographs")
    reason = outbound_fault(Message(RecordDict(), reply_to=message), message, hospital, None)
    assert reason == "no reply is specified to a message of type query.photographs"


def test_a_split_that_does_not_exist_is_refused_and_not_scored_as_validation(hospital: Hospital) -> None:
    message = request(hospital, MessageType.EVALUATE, "train")
    with pytest.raises(DataError, match=r"message\.split must be one of validation, test, got 'train'"):
        hospital.evaluate(message)


class Disguised(str):
    """Text that claims to equal any other."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Headed(bytes):
    """Bytes that claim to begin with any header."""

    def startswith(self, *_: object) -> bool:
        return True


def test_a_reply_leaves_as_the_plain_types_that_were_checked() -> None:
    """A subclass could give a check other values than it sends; so could the chunks that Flower keeps of an array."""
    honest = wire.vector(np.ones(2, np.float32), wire.TABLES)[wire.TABLES]
    start = Headed(b"Ann" + honest.data[3:])
    disguised = Array(honest.dtype, (True, 2), Disguised("Ann"), start)
    disguised.__dict__["_chunks"] = []
    content = wire.plain(RecordDict({Disguised("Ann"): ArrayRecord({wire.TABLES: disguised})}))
    ((name, record),) = content.items()
    array = record[wire.TABLES]
    assert isinstance(array, Array)
    kinds = [type(value) for value in (name, array.dtype, *array.shape, array.stype, array.data)]
    assert kinds == [str, str, int, int, str, bytes]
    assert array.slice_array() != []
    assert isinstance(wire.read(array, "float32", (2,)), Unreadable)


def test_a_hospital_sends_a_plain_copy(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    train = Hospital.train

    def disguise(hospital: Hospital, message: Message) -> RecordDict:
        content = train(hospital, message)
        array = content.array_records[wire.PARAMETERS][wire.PARAMETERS]
        array.stype = Disguised("Ann")
        return content

    monkeypatch.setattr(Hospital, "train", disguise)
    assert_refused(rig.answer(rig.content()), Refusal.OUTBOUND)
