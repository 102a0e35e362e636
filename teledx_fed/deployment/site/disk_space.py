"""Check that a hospital's disk has room for the prepared photographs of a plan."""

import shutil

from teledx_fed.config.settings import Settings
from teledx_fed.data.layouts import read
from teledx_fed.deployment.site.settings import SiteDirectory

BYTES_A_PIXEL = 3
GB = 1e9


def needed(home: SiteDirectory, photographs: int, side: int) -> int:
    """Return the bytes for photographs of `side` × `side` pixels, less those that are already prepared."""
    held = sum(file.stat().st_size for file in home.cache.glob(f"{side}px-*/??/*.npy"))
    return max(0, photographs * side**2 * BYTES_A_PIXEL - held)


def has_room(home: SiteDirectory, settings: Settings) -> bool:
    """Compare `limits.cache` and `limits.disk` with the need, before any photograph is decoded."""
    own, limits = home.settings, home.settings.limits
    listed, _ = read(own.name, own.data.source)
    more = needed(home, len(listed.examples), settings.data.image_size)
    taken = sum(file.stat().st_size for file in home.cache.rglob("*") if file.is_file())
    free = shutil.disk_usage(home.cache if home.cache.exists() else home.folder).free
    return taken + more <= limits.cache * GB and free - more >= limits.disk * GB
