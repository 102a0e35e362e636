"""The systemd unit of a server or a site, with the paths and user of this installation."""

import re
import sys
from pathlib import Path
from string import Template

from teledx_fed.config.loading import CONF
from teledx_fed.core.checks import must

PLAIN = re.compile(r"/[A-Za-z0-9._/+@=-]*")


def server_unit(folder: Path) -> str:
    return _filled("server/teledx-server.service", folder)


def site_unit(folder: Path, name: str) -> str:
    return _filled("site/teledx-site.service", folder, name=name)


def _filled(template: str, folder: Path, **values: str) -> str:
    """Fill in a template; the service runs as the owner of `folder`. A `ConfigurationError` if a path needs quotes."""
    where, python = str(folder.resolve()), sys.executable
    for name, path in (("--dir", where), ("Python's path", python)):
        must(PLAIN.fullmatch(path) is not None, name, "be of letters, digits and . _ + @ = -", path, "Move it.")
    text = (CONF / template).read_text(encoding="utf-8")
    return Template(text).substitute(values, folder=where, python=python, user=folder.owner())
