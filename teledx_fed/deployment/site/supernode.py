"""Start Flower's SuperNode beside the worker: it connects to the server, and runs no code that it receives."""

import os
import subprocess
import sys
import threading
from urllib.parse import urlsplit

from teledx_fed.core.errors import ConfigurationError
from teledx_fed.deployment.common.settings import LOOPBACK, LOOPBACK_HOSTS, QUIET_FLOWER, checked_address
from teledx_fed.deployment.site.settings import SiteDirectory

LOG_TAIL = 4000


def launch(directory: SiteDirectory, port: int) -> subprocess.Popen[bytes]:
    """Start a SuperNode that ends when this process ends; its API for the worker is on `port` of this machine."""
    module = "teledx_fed.deployment.site.supernode"
    command = [sys.executable, "-m", module, str(os.getpid()), *arguments(directory, port)]
    flower_home = {"FLWR_HOME": str(directory.state.absolute() / "flwr")}
    environment = os.environ | QUIET_FLOWER | flower_home | proxied(directory.settings.proxy)
    with directory.node_log.open("ab") as log:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def arguments(directory: SiteDirectory, port: int) -> list[str]:
    host, server_port = checked_address("server", directory.settings.server)
    return [
        *("--superlink", f"{host}:{server_port}"),
        *("--root-certificates", str(directory.authority)),
        *("--auth-supernode-private-key", str(directory.private_key)),
        *("--isolation", "process"),
        *("--superexec-auth-secret-file", str(directory.executor_key)),
        *("--host", LOOPBACK),
        *("--port", str(port)),
    ]


def proxied(proxy: str | None) -> dict[str, str]:
    """Return environment variables for a proxy `http://user:password@host:port`; loopback addresses bypass it."""
    direct = {"NO_PROXY": LOOPBACK_HOSTS, "no_proxy": LOOPBACK_HOSTS}
    if proxy is None:
        return direct
    if urlsplit(proxy).scheme not in ("http", "https") or not urlsplit(proxy).hostname:
        raise ConfigurationError(
            "proxy must be http://[user:password@]host:port, got something else. Correct site.yaml."
        )
    return {"HTTPS_PROXY": proxy, "https_proxy": proxy, **direct}


WRONG_NAME = "The server's certificate is for another name than the one in site.yaml."
ENDINGS = {
    "[code: 2004]": "The server does not admit this site's key: send keys/site.pub to the coordinator.",
    "certificate has expired": "The server's certificate has expired: the coordinator renews it.",
    "Hostname mismatch": WRONG_NAME,
    "IP address mismatch": WRONG_NAME,
    "CERTIFICATE_VERIFY_FAILED": "The server's certificate is not of ca.crt's authority: ask for the current ca.crt.",
    "407": "The proxy requires credentials: write them in proxy in site.yaml.",
    "Name or service not known": "DNS does not resolve the server's name: check server in site.yaml, and the DNS.",
}


def exit_reason(directory: SiteDirectory) -> str:
    """Return the reason for the SuperNode's exit, from the end of its log."""
    last = directory.node_log.read_text(errors="replace")[-LOG_TAIL:] if directory.node_log.exists() else ""
    reasons = (meaning for sign, meaning in ENDINGS.items() if sign in last)
    return next(reasons, f"The connection to the server ended: see {directory.node_log}, and run check.")


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
