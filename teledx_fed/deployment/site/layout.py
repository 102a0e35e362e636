"""Create a hospital's folder; existing files are not changed."""

from pathlib import Path

from teledx_fed.core.checks import must
from teledx_fed.core.files import make_folder, write_bytes
from teledx_fed.deployment.common.keys import create_secret, create_site_keys
from teledx_fed.deployment.common.layout import create_folder, start_log, write_template
from teledx_fed.deployment.common.settings import checked_address, checked_name
from teledx_fed.deployment.site.settings import SiteDirectory


def init_site(directory: SiteDirectory, name: str, server: str, authority: Path) -> None:
    checked_name("--name", name)
    checked_address("--server", server)
    must(authority.is_file(), "--ca", "be the file that the coordinator gave", str(authority), "Ask for ca.crt.")
    create_folder(directory.folder, "site.yaml")
    create_site_keys(directory.private_key, directory.public_key, name)
    for secret in (directory.split_key, directory.executor_key):
        create_secret(secret)
    write_bytes(directory.authority, authority.read_bytes())
    make_folder(directory.state)
    start_log(directory.audit_log, name=name, server=server)
    write_template("site/site.yaml", directory.folder / "site.yaml", name=name, server=server)
