"""Create the coordinator's folder, and renew its certificate. Other files in the folder are not changed."""

from collections.abc import Sequence
from pathlib import Path

from teledx_fed.core.checks import must
from teledx_fed.core.files import make_folder
from teledx_fed.deployment.common.certificates import days_left
from teledx_fed.deployment.common.layout import create_folder, start_log, write_template
from teledx_fed.deployment.server.certificate_authority import adopt, create_authority, issue_server_certificate
from teledx_fed.deployment.server.settings import ServerDirectory

OwnCertificate = tuple[Path | None, Path | None, Path | None]


def init_server(directory: ServerDirectory, hosts: Sequence[str], pki: OwnCertificate) -> None:
    """Create the folder; `pki` is certificate, key and authority of the coordinator's own PKI, or None three times."""
    create_folder(directory.folder, "server.yaml")
    create_authority(directory.loopback)
    issue_server_certificate(directory.loopback, [])
    certificate, key, authority = pki
    if certificate and key and authority:
        adopt(directory.certificates, certificate, key, authority, hosts)
    else:
        must(not any(pki), "--cert, --key and --ca", "be given together", pki, "Give all three, or none.")
        create_authority(directory.certificates)
        issue_server_certificate(directory.certificates, hosts)
    make_folder(directory.runs)
    start_log(directory.audit_log, hosts=list(hosts))
    lines = "\n".join(f"  - {host}" for host in hosts)
    write_template("server/server.yaml", directory.folder / "server.yaml", hosts=lines)


def renew_server(directory: ServerDirectory, certificate: Path | None, key: Path | None) -> int:
    """Renew with our authority, or install the own PKI's certificate; return the days until it expires."""
    issue_server_certificate(directory.loopback, [])
    if certificate and key:
        adopt(directory.certificates, certificate, key, directory.authority, directory.settings.hosts)
    else:
        must(not (certificate or key), "--cert and --key", "be given together", None, "Give both, or none.")
        issue_server_certificate(directory.certificates, directory.settings.hosts)
    return days_left(directory.certificate)
