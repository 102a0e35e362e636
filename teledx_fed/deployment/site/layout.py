"""Create a hospital's folder; existing files are not changed."""

from pathlib import Path

from teledx_fed.core.checks import must
from teledx_fed.core.files import make_folder, write_bytes
from teledx_fed.deployment.common.audit import AuditLog
from teledx_fed.deployment.common.keys import create_secret, create_site_keys
from teledx_fed.deployment.common.layout import create_folder, start_log, write_template
from teledx_fed.deployment.common.settings import checked_address, checked_name
from teledx_fed.deployment.site.settings import SiteDirectory


def init_site(home: SiteDirectory, name: str, server: str, authority: Path) -> None:
    checked_name("--name", name)
    checked_address("--server", server)
    must(authority.is_file(), "--ca", "be the file that the coordinator gave", str(authority), "Ask for ca.crt.")
    create_folder(home.folder, "site.yaml")
    create_site_keys(home.private_key, home.public_key, name)
    for secret in (home.split_key, home.executor_key):
        create_secret(secret)
    write_bytes(home.authority, authority.read_bytes())
    make_folder(home.state)
    start_log(AuditLog(home.audit, home.audit_key), name=name, server=server)
    write_template("site/site.yaml", home.folder / "site.yaml", name=name, server=server)
