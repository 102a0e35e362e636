"""Settings of the diagnosis page: diagnosis.yaml in the hospital's folder."""

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
    """Raise a `ConfigurationError` unless an address is https, or http on this machine."""
    parts = urlsplit(address)
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    must(secure and bool(parts.hostname), name, "be an https:// address", address, "http:// is for this machine alone.")


@dataclass
class OidcSettings:
    """Settings of the log-in with the hospital's OpenID Connect provider, where this page is the client `client_id`.

    `address` is this page's address in browsers. `claim` is the claim of the ID token that has the user's name.
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
        """Address at which the log-in begins, on the host of the callback: the cookie is for that host."""
        return f"{self.address.rstrip('/')}/login/oidc"

    @property
    def callback(self) -> str:
        return f"{self.begin}/callback"


@dataclass
class ArchiveSettings:
    """The archive for signed reports, by C-STORE or STOW-RS.

    C-STORE: to the AE title `title` at `host` and `port`, from the AE title `calling`. STOW-RS: to `address`;
    `authorization_file` contains the value of the Authorization header.
    """

    title: str = ""
    host: str = ""
    port: int = 104
    calling: str = "TELEDX"
    address: str = ""
    authorization_file: str = ""

    def __post_init__(self) -> None:
        is_one = bool(self.address) != bool(self.title and self.host)
        must(
            is_one, "dicom.archive", "have title and host, or address", "both or neither", "Choose C-STORE or STOW-RS."
        )
        within("dicom.archive.port", self.port, 1, 65535)
        if self.address:
            check_secure("dicom.archive.address", self.address)

    def authorization(self) -> dict[str, str]:
        if not self.authorization_file:
            return {}
        return {"Authorization": Path(self.authorization_file).read_text().strip()}


@dataclass
class DicomSettings:
    """`quiet_seconds`: a study is complete after this time without a new photograph. `archive` gets signed reports."""

    quiet_seconds: float = 30
    archive: ArchiveSettings | None = None

    def __post_init__(self) -> None:
        within("dicom.quiet_seconds", self.quiet_seconds, 0, 3600)


@dataclass
class DiagnosisSettings:
    """Settings of the diagnosis page.

    `suggestion`: `shown` at once, or `after_own_grade` of the reader. A session ends after `session_hours`.
    `database`: an SQLAlchemy URL, or null for a file in the folder. `identified_database`: the same for the store that
    maps pseudonyms to patients. `certificate` and `key` are files; without them, only this machine can open the page.
    `allowed_hosts`: names of this page for browsers and devices, besides `host` and the host of `oidc.address`.
    `trusted_proxies`: addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are used.
    `metrics_from`: addresses or networks that may read /metrics. `device_uploads`, `device_upload_mib`: limits of a
    device's uploads in progress, by number and total size. `free_disk_mib`: photographs must leave this much free.
    `most_megapixels`: larger photographs are refused before decoding. `keep_days`: age at which studies are deleted;
    null for never. `oidc`: log-in with the hospital's provider, besides passwords.
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
            must(
                plain,
                "allowed_hosts",
                "be names without scheme, port and *",
                host,
                "For example retina.hospital.example.",
            )
        for name in ("trusted_proxies", "metrics_from"):
            for network in getattr(self, name):
                must(_is_network(network), name, "be addresses or networks", network, "For example 10.0.0.7.")
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
        """Valid values of a request's Host, without the port."""
        host = () if self.host in EVERY_ADDRESS else (self.host,)
        provider = urlsplit(self.oidc.address).hostname if self.oidc else None
        return frozenset(map(str.casefold, (*LOOPBACK, *host, *self.allowed_hosts, *filter(None, (provider,)))))


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
