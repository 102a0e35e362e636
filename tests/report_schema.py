"""Check a real report.json against the published schema."""

import json
from pathlib import Path

from jsonschema import Draft202012Validator

from teledx_fed.reporting.schema import REPORT, as_text

PUBLISHED = Path(__file__).parents[1] / "docs" / "report.schema.json"


def check_report(folder: Path) -> None:
    text = (folder / "report.json").read_text()
    Draft202012Validator(json.loads(PUBLISHED.read_text())).validate(json.loads(text))
    assert as_text(REPORT.validate_python(json.loads(text))) == text
