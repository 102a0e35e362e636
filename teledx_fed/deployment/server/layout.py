"""Create the coordinator's folder, and renew its certificate. Other files in the folder are not changed."""

from collections.abc import Sequence
from pathlib import Path

from teledx_fed.core.checks import must
from teledx_fed.core.files import make_folder
from teledx_fed.deployment.common.audit import AuditLog
from teledx_fed.deployment.common.certificates import days_left
from teledx_fed.deployment.common.layout import create_folder, start_log, write_template
from teledx_fed.deployment.server.certificate_authority import adopt, create_authority, issue_server_certificate
from teledx_fed.deployment.server.settings import ServerDirectory

OwnCertificate = tuple[Path | None, Path | None, Path | None]


def init_server(home: ServerDirectory, hosts: Sequence[str], own: OwnCertificate) -> None:
    """Create the folder; `own` is certificate, key and authority of the coordinator's own PKI, or None three times."""
    create_folder(home.folder, "server.yaml")
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
    start_log(AuditLog(home.audit, home.audit_key), hosts=list(hosts))
    write_template("server/server.yaml", home.folder / "server.yaml", hosts="\n".join(f"  - {host}" for host in hosts))


def renew_server(home: ServerDirectory, certificate: Path | None, key: Path | None) -> int:
    """Renew with our authority, or install the own PKI's certificate; return the days until it expires."""
    issue_server_certificate(home.loopback, [])
    if certificate and key:
        adopt(home.certificates, certificate, key, home.authority, home.settings.hosts)
    else:
        must(not (certificate or key), "--cert and --key", "be given together", None, "Give both, or none.")
        issue_server_certificate(home.certificates, home.settings.hosts)
    return days_left(home.certificate)
