"""Fixtures: a clinic with a tiny model, and synthetic photographs."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from clinic_reader import Reader
from dicom_camera import OPHTHALMIC, Associate, Camera
from fastapi.testclient import TestClient
from points import points
from pynetdicom import AE, Association

from teledx_fed.config.data import HospitalSettings
from teledx_fed.config.learning import ModelSettings
from teledx_fed.core.examples import Example, Eye
from teledx_fed.data.image_cache import PREPARATION_VERSION
from teledx_fed.data.photographs import png
from teledx_fed.data.synthetic import hospital
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.diagnose import open_bundle
from teledx_fed.diagnosis.gathering import Gathering
from teledx_fed.diagnosis.intake import PhotographUpload, StudyUpload
from teledx_fed.diagnosis.receiver import Receiver
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.diagnosis.web import passwords
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.model.bundle import Calibration, Manifest, Preparation, Scope
from teledx_fed.model.bundle_writing import write_bundle
from teledx_fed.model.network import build
from teledx_fed.store.identified import open_identified
from teledx_fed.store.store import open_store

ABOUT = Manifest(
    site="north",
    release="0.1.0",
    demonstration=False,
    preparation=Preparation(PREPARATION_VERSION, 64, False, False),
    calibration=Calibration(1.0, 0.9, 0.01, points(0.99, 0.99), 100, 50),
    scope=Scope((), 100),
    trained={"rounds": 3},
)


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(build(ModelSettings(name="test_efficientnet", initial="none"), seed=0), ABOUT, folder)
    return folder


@pytest.fixture(scope="session")
def demonstration_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demonstration")
    network = build(ModelSettings(name="test_efficientnet", initial="none"), seed=0)
    write_bundle(network, replace(ABOUT, demonstration=True), folder)
    return folder


@pytest.fixture(scope="session")
def drawn() -> tuple[Example, ...]:
    """Synthetic right and left eyes, alternating, of a few patients."""
    return hospital("clinic", HospitalSettings(patients=3), seed=0).examples


@dataclass(frozen=True)
class Photographs:
    """PNG files of both eyes of a synthetic patient."""

    right: bytes
    left: bytes

    def upload(self) -> tuple[PhotographUpload, ...]:
        return PhotographUpload(self.right, Eye.RIGHT), PhotographUpload(self.left, Eye.LEFT)

    def submitted(self, key: str = "key", **details: object) -> StudyUpload:
        return StudyUpload(key, "device/camera", self.upload(), **details)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def photographs(drawn: tuple[Example, ...]) -> Photographs:
    first = {example.eye: example for example in drawn if example.patient == drawn[0].patient}
    return Photographs(png(first[Eye.RIGHT].image.read()), png(first[Eye.LEFT].image.read()))


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords in a millisecond: most tests log in."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(1, 64, 1))


@pytest.fixture(scope="session")
def empty_databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases of this version, to copy: migrations take most of the time that opening a clinic takes."""
    folder = tmp_path_factory.mktemp("databases")
    open_store("", folder / "store").close()
    open_identified("", folder).close()
    return folder


@pytest.fixture
def open_clinic(empty_databases: Path, tmp_path: Path) -> Iterator[Callable[[Path], Clinic]]:
    opened: list[Clinic] = []
    shutil.copytree(empty_databases, tmp_path, dirs_exist_ok=True)

    def make(folder: Path) -> Clinic:
        store, identified = open_store("", tmp_path / "store"), open_identified("", tmp_path)
        opened.append(Clinic(store, identified, open_bundle(folder, 1), ReferralSettings(), b"k" * 32, threads=2))
        return opened[-1]

    yield make
    for clinic in opened:
        clinic.close()


@pytest.fixture
def clinic(open_clinic: Callable[[Path], Clinic], bundle_folder: Path) -> Clinic:
    return open_clinic(bundle_folder)


@pytest.fixture
def study(clinic: Clinic, photographs) -> str:
    return clinic.receive(photographs.submitted()).study.id


@pytest.fixture
def reader(clinic: Clinic) -> Reader:
    return Reader(clinic, DiagnosisSettings())


@pytest.fixture
def blinded(clinic: Clinic) -> Reader:
    return Reader(clinic, DiagnosisSettings(suggestion="after_own_grade"))


@pytest.fixture
def visitor(clinic: Clinic) -> TestClient:
    return TestClient(app(clinic, DiagnosisSettings()), base_url="http://127.0.0.1", follow_redirects=False)


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    return tmp_path / "incoming"


@pytest.fixture
def gathering(clinic: Clinic, incoming: Path) -> Gathering:
    return Gathering(clinic, incoming, quiet=0)


@pytest.fixture
def associate(gathering: Gathering) -> Iterator[Associate]:
    """A receiver that takes in studies only when a test calls `take_in`."""
    receiver = Receiver(gathering, "TELEDX", ["CAMERA"])
    with receiver.listening("127.0.0.1", 0, every=3600) as port:

        def make(caller: str = "CAMERA", called: str = "TELEDX", kind: str = OPHTHALMIC, *syntaxes: str) -> Association:
            entity = AE(ae_title=caller)
            entity.add_requested_context(kind, list(syntaxes) or None)
            return entity.associate("127.0.0.1", port, ae_title=called)

        yield make


@pytest.fixture
def camera(associate: Associate) -> Camera:
    return Camera(associate)
