import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import HOST

from teledx_fed.deployment.server import certificate_authority
from teledx_fed.deployment.site.checks import server
from teledx_fed.deployment.site.layout import init_site
from teledx_fed.deployment.site.settings import SiteDirectory

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(server, "PAUSE_SECONDS", 0.01)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    certificate_authority.create_authority(tmp_path / "certificates")
    certificate_authority.issue_server_certificate(tmp_path / "certificates", [HOST])
    return tmp_path / "certificates"


@pytest.fixture
def write(tmp_path: Path, certificates: Path) -> Callable[..., SiteDirectory]:
    """Create a hospital's folder with init; the result writes its site.yaml with `terms`."""
    init_site(SiteDirectory(tmp_path / "site"), "north", f"{HOST}:9092", certificates / "ca.crt")

    def written(port: int = 9092, host: str = HOST, **terms: Any) -> SiteDirectory:
        directory = SiteDirectory(tmp_path / "site")
        (directory.folder / "site.yaml").write_text(json.dumps({"name": "north", "server": f"{host}:{port}", **terms}))
        return directory

    return written
