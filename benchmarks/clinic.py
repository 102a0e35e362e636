"""Speed of a hospital's page: seconds from upload to a study with its maps, and fifty readers at once."""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import httpx

from benchmarks.measure import print_result
from benchmarks.synthetic import jpegs, untrained
from teledx_fed.config.learning import ModelSettings
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.directory import DiagnosisDirectory
from teledx_fed.diagnosis.web.passwords import hashed_password
from teledx_fed.store.values import Role

SIDE = 2048
STUDIES = 9
READERS, TURNS = 50, 4
GRADED = {"grade": "1", "oedema": "no"}
PASSWORD = "a benchmark's own"
CSRF = re.compile('name="csrf" value="([^"]+)"')
VERSION = re.compile('name="version" value="([^"]+)"')
PICTURES = re.compile(r'src="(/studies/[^"]+\.png)"')


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Yield the address of a hospital with an untrained EfficientNet-B0, which is as fast as a trained one."""
    home = DiagnosisDirectory(folder)
    untrained(ModelSettings(), 224, home.champion)
    store, password = home.store(), hashed_password(PASSWORD)
    for number in range(READERS):
        store.access.add_user(f"reader {number}", Role.READER, password)
    store.close()
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "diagnosis.yaml").write_text(f"port: {port}\n")
    process = subprocess.Popen([sys.executable, "-m", "sites", "serve", "--dir", folder], stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, process)
        yield address
    finally:
        process.terminate()
        process.wait()


def _wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        try:
            httpx.get(f"{address}/login")
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"python -m sites serve ended with {process.returncode}")


def log_in(client: httpx.Client, number: int) -> str:
    """Log a reader in, and return the CSRF token of its forms."""
    client.post("/login", data={"name": f"reader {number}", "password": PASSWORD}).raise_for_status()
    return CSRF.findall(client.get("/").text)[0]


def upload(client: httpx.Client, csrf: str, eyes: tuple[Path, Path]) -> float:
    """Return the seconds from sending the form to the last picture of the study's page."""
    files = {name: (name, path.read_bytes()) for name, path in zip(("right", "left"), eyes, strict=True)}
    began = time.perf_counter()
    page = client.post("/upload", data={"csrf": csrf, "key": eyes[0].stem}, files=files).raise_for_status()
    pictures = PICTURES.findall(page.text)
    assert len(pictures) == 4, "two photographs and two maps"
    for picture in pictures:
        client.get(picture).raise_for_status()
    return time.perf_counter() - began


async def read(address: str, number: int) -> list[float]:
    """Return the seconds of one reader's requests: the worklist, a study with its pictures, an unsigned reading."""
    seconds: list[float] = []

    async def timed(client: httpx.AsyncClient, method: str, path: str, **form: str) -> str:
        began = time.perf_counter()
        response = (await client.request(method, path, data=form or None)).raise_for_status()
        seconds.append(time.perf_counter() - began)
        return response.text

    async with httpx.AsyncClient(base_url=address, follow_redirects=True, timeout=60) as client:
        await timed(client, "POST", "/login", name=f"reader {number}", password=PASSWORD)
        for turn in range(TURNS):
            studies = re.findall('href="(/studies/[0-9a-f]+)"', await timed(client, "GET", "/"))
            study = studies[(number + turn) % len(studies)]
            page = await timed(client, "GET", study)
            for picture in PICTURES.findall(page):
                await timed(client, "GET", picture)
            graded = {f"{eye}_{item}": value for eye in ("right", "left") for item, value in GRADED.items()}
            answers = {"csrf": CSRF.findall(page)[0], "version": VERSION.findall(page)[0], "sign": "no", **graded}
            await timed(client, "POST", f"{study}/reading", urgency="refer", overrules="-", **answers)
    return seconds


async def readers(address: str) -> list[float]:
    return [
        seconds for reader in await asyncio.gather(*(read(address, n) for n in range(READERS))) for seconds in reader
    ]


def main() -> None:
    with TemporaryDirectory() as folder, served(Path(folder) / "hospital") as address:
        photographs = Path(folder) / "photographs"
        eyes = {(e.patient, e.eye): photographs / f"{e.image.name}.jpg" for e in jpegs(photographs, STUDIES, SIDE)}
        pairs = [(eyes[patient, Eye.RIGHT], eyes[patient, Eye.LEFT]) for patient, eye in eyes if eye is Eye.RIGHT]
        with httpx.Client(base_url=address, follow_redirects=True, timeout=60) as client:
            csrf = log_in(client, 0)
            seconds = [upload(client, csrf, pair) for pair in pairs]
        began = time.perf_counter()
        requests = asyncio.run(readers(address))
        elapsed = time.perf_counter() - began
    percentiles = quantiles(requests, n=20)
    print_result(
        "clinic",
        {"upload_to_page_s": median(seconds[1:])},
        at_most={"upload_to_page_s": 1},
        sides={
            "slowest_upload_s": max(seconds[1:]),
            "photograph_megapixels": SIDE**2 / 1e6,
            "readers": READERS,
            "requests": len(requests),
            "requests_a_second": len(requests) / elapsed,
            "request_p50_s": percentiles[9],
            "request_p95_s": percentiles[18],
        },
    )


if __name__ == "__main__":
    main()
