"""Whether a hospital's disk has room for what a plan would have it prepare."""

import shutil

from teledx_fed.config.settings import Settings
from teledx_fed.data.layouts import read
from teledx_fed.deployment.site.settings import SiteDirectory

BYTES_A_PIXEL = 3
GB = 1e9


def needed(home: SiteDirectory, photographs: int, side: int) -> int:
    """Bytes for these photographs as they are prepared, less those that are already."""
    held = sum(file.stat().st_size for file in home.cache.glob(f"{side}px-*/??/*.npy"))
    return max(0, photographs * side**2 * BYTES_A_PIXEL - held)


def has_room(home: SiteDirectory, settings: Settings) -> bool:
    """By `limits.cache` and `limits.disk`, before any photograph is decoded."""
    own, limits = home.settings, home.settings.limits
    listed, _ = read(own.name, own.data.source)
    more = needed(home, len(listed.examples), settings.data.image_size)
    taken = sum(file.stat().st_size for file in home.cache.rglob("*") if file.is_file())
    free = shutil.disk_usage(home.cache if home.cache.exists() else home.folder).free
    return taken + more <= limits.cache * GB and free - more >= limits.disk * GB
