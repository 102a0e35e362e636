"""How the diagnosis page is served: diagnosis.yaml in the hospital's folder."""

from dataclasses import dataclass, field

from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.settings import must, one_of, within

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass
class DiagnosisSettings:
    """`suggestion`: shown at once, or after the reader's own grade. A log-in ends after `session_hours`.

    `database`: an address as SQLAlchemy has it, or null for a file in the folder; `identified_database` is another one,
    which alone knows who is behind a pseudonym. `certificate` and `key` are files; without them the page is served on
    this machine alone. Studies are deleted `keep_days` after they were received; never, where that is null.
    """

    host: str = "127.0.0.1"
    port: int = 8466
    certificate: str | None = None
    key: str | None = None
    database: str | None = None
    identified_database: str | None = None
    suggestion: str = "shown"
    session_hours: float = 8
    keep_days: float | None = None
    threads: int = 2
    referral: ReferralSettings = field(default_factory=ReferralSettings)

    def __post_init__(self) -> None:
        one_of("suggestion", self.suggestion, ("shown", "after_own_grade"))
        within("port", self.port, 1, 65535)
        within("session_hours", self.session_hours, 0.01, 24 * 7)
        if self.keep_days is not None:
            within("keep_days", self.keep_days, 1, 36_525)
        within("threads", self.threads, 1, 1024)
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
