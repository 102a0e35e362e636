"""Files of both a server and a site: the private folder, audit log and settings that `init` creates, a systemd unit."""

import re
import sys
from pathlib import Path
from string import Template
from typing import Any

from teledx_fed.config.loading import CONF
from teledx_fed.core.checks import must
from teledx_fed.core.files import make_folder, write_text
from teledx_fed.deployment.common.audit import LAID_OUT, AuditLog
from teledx_fed.deployment.common.keys import create_site_keys
from teledx_fed.deployment.common.private_files import PRIVATE_FOLDER

PLAIN = re.compile(r"/[A-Za-z0-9._/+@=-]*")


def start_log(log: AuditLog, **facts: Any) -> None:
    create_site_keys(log.key, log.public_key, "audit")
    log.append(LAID_OUT, **facts)


def create_folder(folder: Path, settings: str) -> None:
    """Create a folder for its owner only: it will hold photographs, patients' names and the proxy's password."""
    must(not (folder / settings).exists(), str(folder), "be a new folder", f"one with {settings}", "Name another.")
    make_folder(folder)
    folder.chmod(PRIVATE_FOLDER)


def write_template(template: str, file: Path, **values: str) -> None:
    write_text(file, _filled(template, **values))


def server_unit(folder: Path) -> str:
    return _unit("server/teledx-server.service", folder)


def site_unit(folder: Path, name: str) -> str:
    return _unit("site/teledx-site.service", folder, name=name)


def _unit(template: str, folder: Path, **values: str) -> str:
    """Fill in a unit; the service runs as the owner of `folder`. A `ConfigurationError` if a path needs quotes."""
    where, python = str(folder.resolve()), sys.executable
    for name, path in (("--dir", where), ("Python's path", python)):
        must(PLAIN.fullmatch(path) is not None, name, "be of letters, digits and . _ + @ = -", path, "Move it.")
    return _filled(template, folder=where, python=python, user=folder.owner(), **values)


def _filled(template: str, **values: str) -> str:
    return Template((CONF / template).read_text(encoding="utf-8")).substitute(values)
