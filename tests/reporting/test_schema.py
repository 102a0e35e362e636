import json
from dataclasses import fields
from typing import Any

import pytest
from invented_run import report
from jsonschema import Draft202012Validator
from pydantic import ValidationError
from report_schema import PUBLISHED

from teledx_fed.reporting.schema import REPORT, Report, as_dict, json_schema


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    values = report()
    null_metrics = dict.fromkeys(values["federated"]["all_patients"])
    for differences in values["differences"].values():  # the invented report has p-values only in mean_of_sites
        differences |= {"sites": dict.fromkeys(values["sites"], null_metrics)}
        differences |= {"all_patients": null_metrics, "worst_of_sites": null_metrics}
    return values | {"silent": {site: [] for site in values["sites"]}}


def test_the_published_schema_is_generated_from_the_dataclasses() -> None:
    remedy = "Run: python -m teledx_fed.reporting schema > docs/report.schema.json"
    assert PUBLISHED.read_text() == json_schema(), remedy


def test_a_report_is_unchanged_by_validation(values: dict[str, Any]) -> None:
    written = as_dict(REPORT.validate_python(values))
    assert written == values
    assert list(written) == [field.name for field in fields(Report)]
    Draft202012Validator(json.loads(PUBLISHED.read_text())).validate(written)


@pytest.mark.parametrize("baseline", ["local", "ensemble", "centralised"])
def test_a_baseline_that_was_not_trained_has_no_key(values: dict[str, Any], baseline: str) -> None:
    values = {name: value for name, value in values.items() if name != baseline}
    assert as_dict(REPORT.validate_python(values)) == values


@pytest.mark.parametrize("name", ["seconds", "too_few", "operating_points"])
def test_the_error_names_a_missing_key(values: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        REPORT.validate_python({key: value for key, value in values.items() if key != name})


def test_an_unknown_key_inside_a_site_is_refused(values: dict[str, Any]) -> None:
    site = next(iter(values["sites"]))
    extra = values["sites"] | {site: values["sites"][site] | {"patient_names": 3}}
    with pytest.raises(ValidationError, match="patient_names"):
        REPORT.validate_python(values | {"sites": extra})
