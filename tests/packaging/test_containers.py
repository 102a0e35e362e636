"""The facts that the container files promise, read from them: no engine runs here."""

import re
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from teledx_fed.deployment.server.settings import ServerSettings

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
HOSPITALS = ("north", "south", "east")
FILES = {name: (PACKAGING / f"Containerfile.{name}").read_text("utf-8") for name in ("server", "site")}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((PACKAGING / "compose.yaml").read_text("utf-8"))  # type: ignore[no-any-return]


def instructions(text: str, word: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line.removeprefix(f"{word} ") for line in joined.splitlines() if line.startswith(f"{word} ")]


@pytest.mark.parametrize("name", FILES)
def test_an_image_runs_as_nobody_in_particular_and_holds_no_key(name: str) -> None:
    text = FILES[name]
    final = text[text.rindex("\nFROM ") :]
    (user,) = instructions(final, "USER")
    assert user == "10001:10001"
    assert final.index("USER ") < final.index("ENTRYPOINT ")
    assert {line.split()[-1] for line in instructions(final, "COPY")} == {"/wheels", "/wheels/"}
    assert "--constraint /wheels/requirements.txt" in text
    told = [line for word in ("ARG", "COPY", "ENV", "RUN") for line in instructions(text, word)]
    assert not re.search(r"password|token|secret|\.key|\.pem", " ".join(told), re.IGNORECASE)


@pytest.mark.parametrize("name", FILES)
def test_an_image_keeps_its_folder_in_a_volume_and_says_whether_it_is_well(name: str) -> None:
    (volume,), (folder,) = instructions(FILES[name], "VOLUME"), instructions(FILES[name], "WORKDIR")[1:]
    (health,) = instructions(FILES[name], "HEALTHCHECK")
    assert volume == folder == f"/{name}"
    assert "'/healthz'" in health


def test_the_server_is_asked_where_it_answers() -> None:
    (health,), (port,) = instructions(FILES["server"], "HEALTHCHECK"), instructions(FILES["server"], "EXPOSE")
    template = (ROOT / "conf/server/server.yaml").read_text("utf-8")
    settings = yaml.safe_load(template.replace("$hosts", "  - a"))
    host, listen = settings["watch"]["listen"].split(":")
    assert f"'{host}', {listen}" in health
    assert int(port) == settings["port"] == ServerSettings(["a"]).port


@pytest.mark.parametrize("name", FILES)
def test_an_engine_is_shown_what_it_copies_and_little_else(name: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    shown = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        word
        for line in instructions(FILES[name], "COPY")
        if not line.startswith("--from")
        for word in line.split()[:-1]
    }
    assert "*" in ignored
    assert copied == shown
    assert all((ROOT / path).exists() for path in shown)


def test_a_hospital_reaches_the_server_and_no_other_hospital(compose: dict[str, Any]) -> None:
    networks = {name: set(compose["services"][name]["networks"]) for name in HOSPITALS}
    assert all(len(own) == 1 for own in networks.values())
    assert all(not one & other for one, other in combinations(networks.values(), 2))
    assert set(compose["services"]["server"]["networks"]) == set().union(*networks.values())
    assert compose["networks"] == {name: {"internal": True} for name in HOSPITALS}
    assert not any("network_mode" in service or "ports" in service for service in compose["services"].values())


def test_each_container_is_confined(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"server", *HOSPITALS}
    for service in compose["services"].values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"].endswith(":-10001:10001}")
        assert service["tmpfs"] == ["/tmp:size=1g,mode=1777"]
        assert service["mem_limit"] == service["memswap_limit"] == "8g"
        assert service["pids_limit"] == 512
        assert service["cpus"] == 2
        assert service["ulimits"] == {"core": 0, "fsize": 4 * 2**30}
        assert service["restart"] == "unless-stopped"
        assert "privileged" not in service


def test_a_container_writes_into_its_own_folder_alone(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        written = [mount for mount in service["volumes"] if not mount.endswith(":ro")]
        assert written == [f"../federation/{name}:/{'server' if name == 'server' else 'site'}"]


@pytest.mark.parametrize("name", FILES)
def test_linter(name: str) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None
    done = subprocess.run([hadolint, str(PACKAGING / f"Containerfile.{name}")], capture_output=True, text=True)
    assert done.stdout == ""
    assert done.returncode == 0
