"""An audit log in a test's folder, with the key that signs its head."""

from pathlib import Path

from teledx_fed.deployment.common.audit import AuditLog, verify
from teledx_fed.deployment.common.keys import create_site_keys


def signed_log(path: Path) -> AuditLog:
    key = path.with_name("audit.key")
    if not key.exists():
        create_site_keys(key, key.with_suffix(".pub"), "audit")
    return AuditLog(path, key)


def faults_in(path: Path) -> list[str]:
    return verify(path, path.with_name("audit.pub"))
