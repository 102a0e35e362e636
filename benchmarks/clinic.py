"""How long a clinician waits: from two photographs that are sent to the study's page, heat maps included; and what
fifty readers at once wait for a page of the same server.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from re import findall
from socket import socket
from statistics import median
from tempfile import TemporaryDirectory

import httpx
import numpy as np

from benchmarks.drawn import jpegs
from benchmarks.measure import tell
from teledx_fed.data.image_cache import PREPARATION_VERSION
from teledx_fed.diagnosis.home import DiagnosisHome
from teledx_fed.diagnosis.web.sessions import hashed_password
from teledx_fed.model.bundle import Calibration, Manifest, Preparation, Scope
from teledx_fed.model.bundle_writing import write_bundle
from teledx_fed.model.network import build
from teledx_fed.records import Eye
from teledx_fed.settings import ModelSettings
from teledx_fed.store.values import Role

SIDE = 1024
STUDIES, READERS, PAGES = 20, 50, 5
PASSWORD = "correct horse battery"
ABOUT = Manifest(
    site="here",
    release="0",
    demonstration=True,
    preparation=Preparation(PREPARATION_VERSION, 224, False, False),
    calibration=Calibration(1, 0.9, 0.1, 0.9, 0.5, 0.5, 100, 50),
    scope=Scope((), 100),
    trained={},
)


def photographs(folder: Path) -> list[tuple[bytes, bytes]]:
    """JPEG files of right and left eyes, a pair a patient."""
    pairs: dict[str, dict[Eye, bytes]] = {}
    for example in jpegs(folder, STUDIES, SIDE):
        pairs.setdefault(example.patient, {})[example.eye] = (folder / f"{example.image.name}.jpg").read_bytes()
    return [(eyes[Eye.RIGHT], eyes[Eye.LEFT]) for eyes in pairs.values()]


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, str]]:
    """By a process of its own: the address, and a device's token."""
    write_bundle(build(ModelSettings(), seed=0), ABOUT, folder / "champion")
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "diagnosis.yaml").write_text(f"port: {port}\n")
    access = DiagnosisHome(folder).store().access
    access.add_user("anna", Role.READER, hashed_password(PASSWORD))
    token, address = access.add_device("benchmark"), f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "sites", "serve", "--dir", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        for _ in range(600):
            try:
                httpx.get(f"{address}/login")
                break
            except httpx.ConnectError:
                time.sleep(0.1)
        yield address, token
        process.terminate()


def logged_in(address: str) -> httpx.Client:
    client = httpx.Client(base_url=address, timeout=60)
    assert client.post("/login", data={"name": "anna", "password": PASSWORD}).status_code == 303
    return client


def send(client: httpx.Client, token: str, key: int, pair: tuple[bytes, bytes]) -> float:
    """Seconds from photographs to a page with everything in it."""
    began = time.perf_counter()
    sent = client.post(
        "/api/v1/studies",
        headers={"Authorization": f"Bearer {token}", "Idempotency-Key": str(key)},
        data={"eyes": ["right", "left"]},
        files=[("images", ("photograph", content)) for content in pair],
    )
    page = client.get(f"/studies/{sent.raise_for_status().json()['id']}")
    for picture in findall(r'src="(/studies/[^"]+)"', page.raise_for_status().text):
        client.get(picture).raise_for_status()
    return time.perf_counter() - began


def read(address: str) -> list[float]:
    """Seconds of each page that one reader opens, one after another."""
    taken = []
    with logged_in(address) as client:
        for place in range(PAGES):
            began = time.perf_counter()
            studies = findall(r'href="(/studies/[^"]+)"', client.get("/").raise_for_status().text)
            client.get(studies[place % len(studies)]).raise_for_status()
            taken.append(time.perf_counter() - began)
    return taken


def main() -> None:
    with TemporaryDirectory() as folder, served(Path(folder)) as (address, token):
        with logged_in(address) as client:
            _, *warm = (send(client, token, key, pair) for key, pair in enumerate(photographs(Path(folder) / "drawn")))
        with ThreadPoolExecutor(READERS) as pool:
            pages = [seconds for taken in pool.map(read, [address] * READERS) for seconds in taken]
    tell(
        "clinic",
        {"study_seconds": median(warm)},
        at_most={"study_seconds": 1.0},
        sides={
            "study_p95_seconds": float(np.percentile(warm, 95)),
            "readers": READERS,
            "reader_p50_seconds": median(pages),
            "reader_p95_seconds": float(np.percentile(pages, 95)),
        },
    )


if __name__ == "__main__":
    main()
