"""DICOM storage service (C-STORE, PS3.4 Annex B) and C-ECHO for photographs from a camera or an archive."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from threading import Event as Signal
from threading import Thread
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from teledx_fed.core.errors import TeledxError
from teledx_fed.data.dicom_parsing import SYNTAXES, called
from teledx_fed.data.dicom_pixels import PHOTOGRAPHS
from teledx_fed.data.dicom_writing import response
from teledx_fed.diagnosis.gathering import Gathering
from teledx_fed.store.database import StoreError

log = logging.getLogger(__name__)
logging.getLogger("pynetdicom").setLevel(logging.WARNING)  # lower levels log patients' data

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
"""Statuses of C-STORE (PS3.4 B.2.3)."""
VERIFICATION = "1.2.840.10008.1.1"
MOST_NAMED = 5


class Receiver:
    """DICOM receiver. A C-STORE succeeds only once the photograph is on disk; the clinic gets the study later."""

    def __init__(self, gathering: Gathering, title: str, callers: Collection[str]) -> None:
        """`title` is the AE title of this receiver; `callers` are the AE titles that may send."""
        self._gathering = gathering
        self._busy = set[Association]()
        self._entity = AE(ae_title=title)
        self._entity.require_called_aet = True
        self._entity.require_calling_aet = list(callers)
        self._entity.maximum_pdu_size = 0
        self._entity.add_supported_context(VERIFICATION)
        for kind in sorted(PHOTOGRAPHS):
            self._entity.add_supported_context(kind, sorted(SYNTAXES))

    @contextmanager
    def listening(self, host: str, port: int, every: float = 1) -> Iterator[int]:
        """Receive in threads and yield the port; every `every` seconds, pass complete studies to the clinic."""
        handlers: list[Any] = [
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_CONN_CLOSE, self._end),
        ]
        over = Signal()
        taking = Thread(target=self._take_in_until, args=(over, every))
        server = self._entity.start_server((host, port), block=False, evt_handlers=handlers)
        assert server is not None  # a server that does not block is returned
        assert server.socket is not None
        taking.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            over.set()
            taking.join()

    def _take_in_until(self, over: Signal, every: float) -> None:
        while not over.is_set():
            try:
                self._gathering.take_in()
            except (StoreError, OSError) as error:
                log.error("studies wait, and are tried again: %s", error)
            except Exception:
                log.exception("studies wait, and are tried again")
            over.wait(every)

    def _echo(self, event: Event) -> int:
        self._busy.add(event.assoc)
        return SUCCESS

    def _store(self, event: Event) -> Any:
        self._busy.add(event.assoc)
        try:
            self._gathering.add(event.encoded_dataset(), event.assoc.requestor.ae_title)
        except TeledxError as error:
            return response(CANNOT_UNDERSTAND, str(error))
        except (StoreError, OSError) as error:
            log.error("a photograph could not be stored: %s", error)
            return response(OUT_OF_RESOURCES, "it could not be stored, try again later")
        return SUCCESS

    def _end(self, event: Event) -> None:
        """List as refused what the sender offered and this site does not accept: no C-STORE response reports it."""
        was_busy = event.assoc in self._busy
        self._busy.discard(event.assoc)
        accepted = {context.abstract_syntax for context in event.assoc.accepted_contexts}
        offered = {
            f"{called(str(context.abstract_syntax))} ({', '.join(map(called, context.transfer_syntax))})"
            for context in event.assoc.rejected_contexts
            if context.abstract_syntax not in accepted and (context.abstract_syntax in PHOTOGRAPHS or not was_busy)
        }
        if offered:
            names = "; ".join(sorted(offered)[:MOST_NAMED])
            reason = f"the sender offered objects or encodings that this site does not read: {names}"
            self._gathering.refuse(event.assoc.requestor.ae_title, reason)
