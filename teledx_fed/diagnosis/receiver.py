"""Photographs straight from a camera or an archive: a DICOM storage service (C-STORE, PS3.4 Annex B)."""

import logging
import shutil
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any
from uuid import uuid4

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.transport import ThreadedAssociationServer

from teledx_fed.data.dicom import about
from teledx_fed.data.dicom_parsing import SYNTAXES
from teledx_fed.data.dicom_pixels import PHOTOGRAPHS
from teledx_fed.diagnosis.clinic import Clinic, Photograph, Submitted
from teledx_fed.diagnosis.intake import LARGEST_MIB
from teledx_fed.files import write_bytes

log = logging.getLogger(__name__)
logging.getLogger("pynetdicom").setLevel(logging.WARNING)  # below, it tells of whom a photograph is

SUCCESS, OUT_OF_RESOURCES, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
"""Statuses of C-STORE (PS3.4 B.2.3)."""
REFUSED = "refused"


class Receiver:
    """What one association sends is on disk before it is said to be stored, and a study each once the sender is done.

    What the clinic refuses stays in `folder/refused`, as it came, with the reason in the log.
    """

    def __init__(self, clinic: Clinic, folder: Path, title: str, callers: Collection[str]) -> None:
        """`title` is ours; `callers` are the AE titles that may send."""
        self._clinic, self._folder = clinic, folder
        self._coming: dict[Association, Path] = {}
        self._entity = AE(ae_title=title)
        self._entity.require_called_aet = True
        self._entity.require_calling_aet = list(callers)
        self._entity.maximum_pdu_size = 0
        for kind in sorted(PHOTOGRAPHS):
            self._entity.add_supported_context(kind, sorted(SYNTAXES))
        for left in folder.glob("association-*"):
            self._take_in(left)  # a crash came between

    def start(self, host: str, port: int) -> ThreadedAssociationServer:
        """In threads of its own, until `shutdown`."""
        handlers: list[Any] = [
            (evt.EVT_ACCEPTED, self._begin),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_CONN_CLOSE, self._end),
        ]
        server = self._entity.start_server((host, port), block=False, evt_handlers=handlers)
        assert server is not None  # as it is where it does not block
        return server

    def _begin(self, event: Event) -> None:
        self._coming[event.assoc] = self._folder / f"association-{uuid4().hex}"

    def _store(self, event: Event) -> int:
        content = event.encoded_dataset()
        if len(content) > LARGEST_MIB * 2**20:
            return OUT_OF_RESOURCES
        file = self._coming[event.assoc] / f"{uuid4().hex}.dcm"
        write_bytes(file, content)
        try:
            about(file)
        except ValueError as error:
            log.warning("a photograph from %s is refused: %s", event.assoc.requestor.ae_title, error)
            file.unlink()
            return NOT_UNDERSTOOD
        return SUCCESS

    def _end(self, event: Event) -> None:
        if (folder := self._coming.pop(event.assoc, None)) is not None and folder.exists():
            self._take_in(folder)

    def _take_in(self, folder: Path) -> None:
        studies: dict[str, list[Path]] = defaultdict(list)
        for file in sorted(folder.glob("*.dcm")):
            studies[about(file).study].append(file)
        for study, files in studies.items():
            photographs = tuple(Photograph(file.read_bytes()) for file in files)
            try:
                self._clinic.receive(Submitted(study or uuid4().hex, "dicom", photographs))
            except ValueError as error:
                log.warning("a study is refused, and kept in %s: %s", self._folder / REFUSED, error)
                self._set_aside(files)
        shutil.rmtree(folder)

    def _set_aside(self, files: Collection[Path]) -> None:
        (self._folder / REFUSED).mkdir(mode=0o700, exist_ok=True)
        for file in files:
            file.rename(self._folder / REFUSED / file.name)
