"""How many questions a hospital answered today: on its disk, so that a restart forgets none."""

import json
from datetime import date

from teledx_fed.core.files import write_text
from teledx_fed.deployment.site_settings import SiteHome


def answered_on(home: SiteHome, day: date) -> int:
    last = json.loads(home.answered.read_text()) if home.answered.exists() else {}
    return int(last["answered"]) if last.get("day") == day.isoformat() else 0


def count(home: SiteHome, day: date) -> None:
    write_text(home.answered, json.dumps({"day": day.isoformat(), "answered": answered_on(home, day) + 1}))
