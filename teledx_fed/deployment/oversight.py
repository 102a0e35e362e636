"""A coordinator's eye on its server: what there is to see, and who is told while it serves."""

from collections.abc import Iterator
from contextlib import contextmanager

from teledx_fed.deployment import control
from teledx_fed.deployment.certificates import expires
from teledx_fed.deployment.events import Watcher, disk, server_events
from teledx_fed.deployment.metrics import server_metrics
from teledx_fed.deployment.monitoring import repeatedly, watched
from teledx_fed.deployment.overview import Overview, overview
from teledx_fed.deployment.server_settings import ServerHome


def seen(home: ServerHome) -> Overview:
    """Where the federation stands, also while the server does not answer."""
    try:
        return overview(home, control.nodes(home), control.runs(home))
    except ConnectionError:
        return overview(home, None, ())


@contextmanager
def overseen(home: ServerHome) -> Iterator[None]:
    """Health, metrics and the webhook, for as long as the block runs."""
    watch = home.settings.watch
    watcher = Watcher(home.settings.hosts[0], home.folder / "told.json", watch.webhook)

    def metrics() -> bytes:
        return server_metrics(seen(home), expires(home.certificate) if home.certificate.exists() else None)

    def tell() -> None:
        watcher.tell(server_events(seen(home), disk(home.folder)))

    with watched(watch.listen, metrics, lambda: {"superlink": control.is_up(home)}), repeatedly(tell):
        yield
