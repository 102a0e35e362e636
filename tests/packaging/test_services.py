import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from teledx_fed.config.loading import CONF
from teledx_fed.deployment.common.layout import server_unit, site_unit

ROOT = Path(__file__).parents[2]


def parsed(unit: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(unit)
    return parser


@pytest.fixture
def units(tmp_path: Path) -> dict[str, str]:
    return {"teledx-server": server_unit(tmp_path), "teledx-site": site_unit(tmp_path, "north")}


def test_a_unit_contains_the_folder_and_its_owner_and_the_path_of_python(units: dict[str, str], tmp_path: Path) -> None:
    site, server = (parsed(units[name])["Service"] for name in ("teledx-site", "teledx-server"))
    assert site["ExecStart"] == f"{sys.executable} -m sites join --dir {tmp_path}"
    assert server["ExecStart"] == f"{sys.executable} -m server start --dir {tmp_path}"
    for service in (site, server):
        assert service["ReadWritePaths"] == str(tmp_path)
        assert service["User"] == tmp_path.owner()
    assert "site north" in parsed(units["teledx-site"])["Unit"]["Description"]


def test_a_unit_limits_its_process_and_restarts_it(units: dict[str, str]) -> None:
    for unit in units.values():
        service = parsed(unit)["Service"]
        assert service["Restart"] == "always"
        assert service["Environment"] == "ORT_DISABLE_TELEMETRY=1"
        assert service["ProtectSystem"] == "strict"
        assert service["UMask"] == "0077"
        assert service["NoNewPrivileges"] == service["PrivateTmp"] == "yes"
        assert service["CapabilityBoundingSet"] == ""
        assert service["MemoryMax"] == "8G"
        assert service["MemorySwapMax"] == service["LimitCORE"] == "0"
        assert {"TasksMax", "LimitFSIZE"} <= set(service)
        assert service["KillMode"] == "mixed"
        assert parsed(unit)["Unit"]["StartLimitIntervalSec"] == "0"


def test_the_unit_of_a_site_allows_the_gpu(units: dict[str, str]) -> None:
    """With ProtectClock=, systemd would block every device that the unit does not list, also the GPU."""
    service = parsed(units["teledx-site"])["Service"]
    assert not {"PrivateDevices", "ProtectClock", "DevicePolicy", "MemoryDenyWriteExecute"} & set(service)


def test_a_path_with_characters_that_are_special_to_systemd_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "50% north"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"--dir must be of letters.*50% north.*Move it"):
        server_unit(folder)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_every_line(units: dict[str, str], tmp_path: Path) -> None:
    for name, unit in units.items():
        file = tmp_path / f"{name}.service"
        file.write_text(unit)
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True)
        warnings = [line for line in done.stderr.splitlines() if name in line]
        assert (warnings, done.returncode) == ([], 0)


@pytest.mark.parametrize(("package", "template"), [("site", "teledx-site"), ("server", "teledx-server")])
def test_the_templates_are_in_a_folder_that_the_wheel_includes(package: str, template: str) -> None:
    assert (CONF / package / f"{template}.service").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "settings"),
    [
        (["sites", "join"], "name: north\nserver: fl.example.org:9092\n"),
        (["server", "start"], "hosts: [fl.example.org]\n"),
    ],
)
def test_the_service_option_prints_the_unit(command: list[str], settings: str, tmp_path: Path) -> None:
    name = "site" if command[0] == "sites" else "server"
    (tmp_path / f"{name}.yaml").write_text(settings)
    done = subprocess.run(
        [sys.executable, "-m", *command, "--service", "--dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (server_unit(tmp_path) if name == "server" else site_unit(tmp_path, "north"))
