"""How the diagnosis page is served: diagnosis.yaml in the hospital's folder."""

from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from teledx_fed.config.data import LARGEST_MEGAPIXELS, MOST_MEGAPIXELS
from teledx_fed.core.checks import must, one_of, within
from teledx_fed.diagnosis.intake import LARGEST_MIB
from teledx_fed.diagnosis.referral import ReferralSettings

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERY_ADDRESS = ("0.0.0.0", "::", "")


def check_secure(name: str, address: str) -> None:
    """What goes there is read by nobody on the way."""
    parts = urlsplit(address)
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    must(secure and bool(parts.hostname), name, "be an https:// address", address, "http:// is for this machine alone.")


@dataclass
class OidcSettings:
    """Log-in with the hospital's own OpenID Connect provider, which knows this page as `client_id`.

    `address` is the page's own, as browsers see it. `claim` of the provider's ID token is the user's name here.
    """

    issuer: str = ""
    client_id: str = ""
    client_secret_file: str = ""
    address: str = ""
    claim: str = "preferred_username"

    def __post_init__(self) -> None:
        for name in ("client_id", "client_secret_file", "claim"):
            must(bool(getattr(self, name)), f"oidc.{name}", "be given", getattr(self, name), "Your provider knows it.")
        for name in ("issuer", "address"):
            check_secure(f"oidc.{name}", getattr(self, name))
        alone = urlsplit(self.address).path in ("", "/") and not set("?#") & set(self.address)
        must(alone, "oidc.address", "be without a path", self.address, "Name scheme, host and port alone.")

    @property
    def begin(self) -> str:
        """Where a browser begins, at the address that it will come back to: its cookie is of that host."""
        return f"{self.address.rstrip('/')}/login/oidc"

    @property
    def callback(self) -> str:
        return f"{self.begin}/callback"


@dataclass
class ArchiveSettings:
    """Where signed reports go: by C-STORE to `title` at `host` and `port`, from us as `calling`; or, where there is an
    `address`, by STOW-RS. `authorization_file` holds the value of its Authorization header.
    """

    title: str = ""
    host: str = ""
    port: int = 104
    calling: str = "TELEDX"
    address: str = ""
    authorization_file: str = ""

    def __post_init__(self) -> None:
        one = bool(self.address) != bool(self.title and self.host)
        must(one, "dicom.archive", "have title and host, or address", "both or neither", "Choose C-STORE or STOW-RS.")
        within("dicom.archive.port", self.port, 1, 65535)
        if self.address:
            check_secure("dicom.archive.address", self.address)

    def authorization(self) -> dict[str, str]:
        if not self.authorization_file:
            return {}
        return {"Authorization": Path(self.authorization_file).read_text().strip()}


@dataclass
class DicomSettings:
    """A study is taken in once no photograph of it has come for `quiet_seconds`. Signed reports go to `archive`."""

    quiet_seconds: float = 30
    archive: ArchiveSettings | None = None

    def __post_init__(self) -> None:
        within("dicom.quiet_seconds", self.quiet_seconds, 0, 3600)


@dataclass
class DiagnosisSettings:
    """`suggestion`: shown at once, or after the reader's own grade. A log-in ends after `session_hours`.

    `database`: an address as SQLAlchemy has it, or null for a file in the folder; `identified_database` is another one,
    which alone knows who is behind a pseudonym. `certificate` and `key` are files; without them the page is served on
    this machine alone. `allowed_hosts` are the names by which browsers and devices call this page, beside `host` and
    `oidc.address`; `trusted_proxies` the addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto
    are believed, `metrics_from` those that may read /metrics. A device may have `device_uploads` uploads of
    `device_upload_mib` together in progress, and nothing is taken in where less than `free_disk_mib` of the disk would
    be left. A photograph of more than `most_megapixels` is refused before it is decoded. Studies are deleted
    `keep_days` after they were received; never, where that is null. `oidc` is a log-in with the hospital's provider,
    beside that with a password.
    """

    host: str = "127.0.0.1"
    port: int = 8466
    certificate: str | None = None
    key: str | None = None
    allowed_hosts: list[str] = field(default_factory=list)
    trusted_proxies: list[str] = field(default_factory=list)
    metrics_from: list[str] = field(default_factory=lambda: ["127.0.0.1", "::1"])
    database: str | None = None
    identified_database: str | None = None
    suggestion: str = "shown"
    session_hours: float = 8
    device_uploads: int = 32
    device_upload_mib: int = 1024
    free_disk_mib: int = 1024
    keep_days: float | None = None
    threads: int = 2
    most_megapixels: float = MOST_MEGAPIXELS
    oidc: OidcSettings | None = None
    dicom: DicomSettings = field(default_factory=DicomSettings)
    referral: ReferralSettings = field(default_factory=ReferralSettings)

    @property
    def most_pixels(self) -> int:
        return round(self.most_megapixels * 1e6)

    def __post_init__(self) -> None:
        one_of("suggestion", self.suggestion, ("shown", "after_own_grade"))
        within("port", self.port, 1, 65535)
        within("session_hours", self.session_hours, 0.01, 24 * 7)
        within("device_uploads", self.device_uploads, 1, 10_000)
        within("device_upload_mib", self.device_upload_mib, LARGEST_MIB, 2**20)
        within("free_disk_mib", self.free_disk_mib, 0, 2**30)
        if self.keep_days is not None:
            within("keep_days", self.keep_days, 1, 36_525)
        within("threads", self.threads, 1, 1024)
        within("most_megapixels", self.most_megapixels, 1, LARGEST_MEGAPIXELS)
        for host in self.allowed_hosts:
            plain = (bool(host) and not set(host) & set("*/@: ")) or _is_network(host)
            must(plain, "allowed_hosts", "be names without scheme, port and *", host, "Say retina.hospital.example.")
        for name in ("trusted_proxies", "metrics_from"):
            for network in getattr(self, name):
                must(_is_network(network), name, "be addresses or networks", network, "Say 10.0.0.7.")
        must(
            (self.certificate is None) == (self.key is None), "certificate and key", "be given together", None, "Both."
        )
        must(
            self.host in LOOPBACK or self.certificate is not None,
            "certificate",
            f"be given where host is not of this machine alone ({', '.join(LOOPBACK)})",
            self.host,
            "Name a certificate and its key.",
        )

    @property
    def hosts(self) -> frozenset[str]:
        """Of a request's Host, without the port."""
        own = () if self.host in EVERY_ADDRESS else (self.host,)
        provider = urlsplit(self.oidc.address).hostname if self.oidc else None
        return frozenset(map(str.casefold, (*LOOPBACK, *own, *self.allowed_hosts, *filter(None, (provider,)))))


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
