import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from runs import ROOT, Start
from tiny_images import TinyImages, TinyPhotograph

from teledx_fed.config.loading import build
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Example, Eye, Identification, Shard, Site

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # a test's processes share their cores with another test
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes of two threads each, on two cores, are five times slower

settings.register_profile("gate", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gate")  # the same examples each time; --hypothesis-profile=default draws new ones


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files that have the longest timeouts, so that both cores are busy until the end."""
    timeouts = {item.path: 0 for item in items}
    for item in items:
        if marker := item.get_closest_marker("timeout"):
            timeouts[item.path] = max(timeouts[item.path], *marker.args)
    items.sort(key=lambda item: -timeouts[item.path])


REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL_DATA.is_dir():
        pytest.skip(f"the real photographs are not beside this checkout ({REAL_DATA.name}/ is absent)")
    return REAL_DATA


def tiny_examples(site: str, patients: int, oedema: bool | None = None) -> tuple[Example, ...]:
    return tuple(
        Example(
            image=TinyPhotograph(f"{site}-{patient}-{eye}", patient % 5),
            grade=patient % 5,
            patient=f"{site}-{patient}",
            eye=eye,
            oedema=oedema,
            source=site,
        )
        for patient in range(patients)
        for eye in (Eye.LEFT, Eye.RIGHT)
    )


@pytest.fixture
def tiny_site(tmp_path: Path) -> Callable[..., Site]:
    def make(name: str, patients: int = 10, oedema: bool | None = None) -> Site:
        examples = tiny_examples(name, patients * 3, oedema)
        third = patients * 2
        shard = Shard(examples[:third], examples[third : 2 * third], examples[2 * third :])
        return Site(name, shard, TinyImages(tmp_path), Identification.GIVEN)

    return make


@pytest.fixture
def tiny_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Return a function that makes settings of a run of one second; `overrides` such as `federation__rounds`."""

    def make(**overrides: object) -> Settings:
        values: dict[str, dict[str, object]] = {
            "data": {"hospitals": {"tiny": {}}, "image_size": 64, "cache": str(tmp_path / "cache")},
            "model": {"name": "test_efficientnet", "initial": "none"},
            "training": {"augment": False, "batch_size": 10},
            "federation": {"rounds": 2},
            "simulation": {"threads": 1},
            "evaluation": {"replicates": 20},
        }
        top: dict[str, object] = {}
        for name, value in overrides.items():
            group, _, key = name.partition("__")
            if key:
                values.setdefault(group, {})[key] = value
            else:
                top[group] = value
        if values.get("strategy", {}).get("name") == "fedprox":
            values["training"].setdefault("proximal_mu", 0.01)
        return build({**values, **top})

    return make


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def start(cache: Path, tmp_path: Path) -> Start:
    """Return a function that starts `run_simulation.py`; the runs of a module share prepared photographs."""

    def begin(*overrides: str) -> "subprocess.Popen[str]":
        keep_cache = [] if any(o.startswith("resume=") for o in overrides) else [f"data.cache={cache}"]
        command = [sys.executable, str(ROOT / "run_simulation.py"), *overrides, *keep_cache]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, start_new_session=True)

    return begin
