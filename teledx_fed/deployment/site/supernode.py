"""Start Flower's SuperNode beside the worker: it connects to the server, and runs no code that it receives."""

import os
import subprocess
import sys
import threading
from urllib.parse import urlsplit

from teledx_fed.core.errors import ConfigurationError
from teledx_fed.deployment.common.settings import LOOPBACK, checked_address
from teledx_fed.deployment.site.settings import SiteDirectory

QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
HERE = "127.0.0.1,localhost"
TOLD = 4000


def launch(home: SiteDirectory, port: int) -> subprocess.Popen[bytes]:
    """Start a SuperNode that ends when this process ends; its API for the worker is on `port` of this machine."""
    command = [sys.executable, "-m", "teledx_fed.deployment.site.supernode", str(os.getpid()), *arguments(home, port)]
    environment = {**os.environ, **QUIET, "FLWR_HOME": str(home.state.absolute() / "flwr")}
    with home.node_log.open("ab") as log:
        return subprocess.Popen(
            command, env=environment | proxied(home.settings.proxy), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def arguments(home: SiteDirectory, port: int) -> list[str]:
    host, server_port = checked_address("server", home.settings.server)
    return [
        *("--superlink", f"{host}:{server_port}"),
        *("--root-certificates", str(home.authority)),
        *("--auth-supernode-private-key", str(home.private_key)),
        *("--isolation", "process"),
        *("--superexec-auth-secret-file", str(home.executor_key)),
        *("--host", LOOPBACK),
        *("--port", str(port)),
    ]


def proxied(proxy: str | None) -> dict[str, str]:
    """Return environment variables for a proxy `http://user:password@host:port`; loopback addresses bypass it."""
    if proxy is None:
        return {"NO_PROXY": HERE, "no_proxy": HERE}
    if urlsplit(proxy).scheme not in ("http", "https") or not urlsplit(proxy).hostname:
        raise ConfigurationError(
            "proxy must be http://[user:password@]host:port, got something else. Correct site.yaml."
        )
    return {"HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": HERE, "no_proxy": HERE}


WRONG_NAME = "The server's certificate is made out to another name than the one in site.yaml."
ENDINGS = {
    "[code: 2004]": "The server does not know this site's key: send the coordinator keys/site.pub.",
    "certificate has expired": "The server's certificate has expired: the coordinator renews it.",
    "Hostname mismatch": WRONG_NAME,
    "IP address mismatch": WRONG_NAME,
    "CERTIFICATE_VERIFY_FAILED": "The server's certificate does not go back to ca.crt: ask the coordinator for theirs.",
    "407": "The proxy asks for credentials: write them into proxy in site.yaml.",
    "Name or service not known": "The server's name is not known here: check server in site.yaml, and the DNS.",
}


def exit_reason(home: SiteDirectory) -> str:
    """Return the reason for the SuperNode's exit, from the end of its log."""
    last = home.node_log.read_text(errors="replace")[-TOLD:] if home.node_log.exists() else ""
    found = (meaning for sign, meaning in ENDINGS.items() if sign in last)
    return next(found, f"The connection to the server ended: see {home.node_log}, and run check.")


def main(parent: int) -> None:
    """Run the SuperNode; exit when its connection or heartbeat ends, because other threads would keep it alive."""
    from teledx_fed.federation.flower import flower_supernode, start_parent_process_monitor

    threading.excepthook = _end_with
    start_parent_process_monitor(parent)
    flower_supernode()
    os._exit(1)


def _end_with(died: threading.ExceptHookArgs) -> None:
    threading.__excepthook__(died)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv.pop(1)))
