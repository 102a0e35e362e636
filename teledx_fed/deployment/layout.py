"""The folders that `init` lays out. Nothing that is there already is touched."""

from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from teledx_fed.config.loading import CONF
from teledx_fed.core.checks import must
from teledx_fed.core.files import make_folder, write_bytes, write_text
from teledx_fed.deployment.audit import LAID_OUT, AuditLog
from teledx_fed.deployment.certificates import adopt, create_authority, days_left, issue_server_certificate
from teledx_fed.deployment.keys import create_secret, create_site_keys
from teledx_fed.deployment.private_files import PRIVATE_FOLDER
from teledx_fed.deployment.server_settings import ServerHome
from teledx_fed.deployment.site_settings import SiteHome, checked_address, checked_name

OwnCertificate = tuple[Path | None, Path | None, Path | None]


def init_server(home: ServerHome, hosts: Sequence[str], own: OwnCertificate) -> None:
    """`own`: certificate, key and authority of the coordinator's own PKI, or three times None."""
    _begin(home.folder, "server.yaml")
    create_authority(home.loopback)
    issue_server_certificate(home.loopback, [])
    certificate, key, authority = own
    if certificate and key and authority:
        adopt(home.certificates, certificate, key, authority, hosts)
    else:
        must(not any(own), "--cert, --key and --ca", "be given together", own, "Give all three, or none.")
        create_authority(home.certificates)
        issue_server_certificate(home.certificates, hosts)
    make_folder(home.runs)
    _begin_log(AuditLog(home.audit, home.audit_key), hosts=list(hosts))
    _write("server/server.yaml", home.folder / "server.yaml", hosts="\n".join(f"  - {host}" for host in hosts))


def renew_server(home: ServerHome, certificate: Path | None, key: Path | None) -> int:
    """By our authority, or with what the coordinator's own PKI issued; returns for how many days."""
    issue_server_certificate(home.loopback, [])
    if certificate and key:
        adopt(home.certificates, certificate, key, home.authority, home.settings.hosts)
    else:
        must(not (certificate or key), "--cert and --key", "be given together", None, "Give both, or none.")
        issue_server_certificate(home.certificates, home.settings.hosts)
    return days_left(home.certificate)


def init_site(home: SiteHome, name: str, server: str, authority: Path) -> None:
    checked_name("--name", name)
    checked_address("--server", server)
    must(authority.is_file(), "--ca", "be the file that the coordinator gave", str(authority), "Ask for ca.crt.")
    _begin(home.folder, "site.yaml")
    create_site_keys(home.private_key, home.public_key, name)
    for secret in (home.split_key, home.executor_key):
        create_secret(secret)
    write_bytes(home.authority, authority.read_bytes())
    make_folder(home.state)
    _begin_log(AuditLog(home.audit, home.audit_key), name=name, server=server)
    _write("site/site.yaml", home.folder / "site.yaml", name=name, server=server)


def _begin_log(log: AuditLog, **facts: Any) -> None:
    create_site_keys(log.key, log.public_key, "audit")
    log.append(LAID_OUT, **facts)


def _begin(folder: Path, settings: str) -> None:
    """For its owner alone: prepared photographs, names of patients and the proxy's password will lie in it."""
    must(not (folder / settings).exists(), str(folder), "be a new folder", f"one with {settings}", "Name another.")
    make_folder(folder)
    folder.chmod(PRIVATE_FOLDER)


def _write(template: str, file: Path, **values: str) -> None:
    write_text(file, Template((CONF / template).read_text(encoding="utf-8")).substitute(values))
