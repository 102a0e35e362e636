"""Check that a hospital's disk has room for the prepared photographs of a plan."""

import shutil

from teledx_fed.config.settings import Settings
from teledx_fed.data.layouts import read
from teledx_fed.deployment.site.settings import SiteDirectory

BYTES_A_PIXEL = 3
GB = 1e9


def needed(directory: SiteDirectory, photographs: int, side: int) -> int:
    """Return the bytes for photographs of `side` × `side` pixels, less those that are already prepared."""
    prepared = sum(file.stat().st_size for file in directory.cache.glob(f"{side}px-*/??/*.npy"))
    return max(0, photographs * side**2 * BYTES_A_PIXEL - prepared)


def has_room(directory: SiteDirectory, settings: Settings) -> bool:
    """Compare `limits.cache` and `limits.disk` with the need, before any photograph is decoded."""
    site_settings, limits = directory.settings, directory.settings.limits
    listed, _ = read(site_settings.name, site_settings.data.source)
    more = needed(directory, len(listed.examples), settings.data.image_size)
    taken = sum(file.stat().st_size for file in directory.cache.rglob("*") if file.is_file())
    free = shutil.disk_usage(directory.cache if directory.cache.exists() else directory.folder).free
    return taken + more <= limits.cache * GB and free - more >= limits.disk * GB
