"""What `init` creates for both a server and a site: a private folder, an audit log, settings from a template."""

from pathlib import Path
from string import Template
from typing import Any

from teledx_fed.config.loading import CONF
from teledx_fed.core.checks import must
from teledx_fed.core.files import make_folder, write_text
from teledx_fed.deployment.common.audit import LAID_OUT, AuditLog
from teledx_fed.deployment.common.keys import create_site_keys
from teledx_fed.deployment.common.private_files import PRIVATE_FOLDER


def start_log(log: AuditLog, **facts: Any) -> None:
    create_site_keys(log.key, log.public_key, "audit")
    log.append(LAID_OUT, **facts)


def create_folder(folder: Path, settings: str) -> None:
    """Create a folder for its owner only: it will hold photographs, patients' names and the proxy's password."""
    must(not (folder / settings).exists(), str(folder), "be a new folder", f"one with {settings}", "Name another.")
    make_folder(folder)
    folder.chmod(PRIVATE_FOLDER)


def write_template(template: str, file: Path, **values: str) -> None:
    write_text(file, Template((CONF / template).read_text(encoding="utf-8")).substitute(values))
