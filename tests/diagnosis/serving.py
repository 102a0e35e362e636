"""Serve a clinic's page on this machine, over HTTP."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web.app import server
from teledx_fed.diagnosis.web.settings import DiagnosisSettings


@contextmanager
def served(clinic: Clinic, settings: DiagnosisSettings) -> Iterator[str]:
    running = server(clinic, settings)
    thread = Thread(target=running.run)
    thread.start()
    while not running.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{settings.port}"
    finally:
        running.should_exit = True
        thread.join()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
