from teledx_fed.core.reports import Readiness
from teledx_fed.reporting.readiness import table

COUNTS = {
    "grades": {"0": 100, "1": 20, "2": 60, "3": 0, "4": 20},
    "oedema": {"no": 90, "yes": 10, "unknown": 100},
    "cameras": {"canon": 150, "kowa": 0, "other": 50},
    "sides": {"0–127": 200},
    "patients": {"given": 100, "inferred": 0, "unknown": 0},
    "set_aside": {"ungradable": 15, "bad": 5},
}


def test_a_row_a_site_and_its_reasons_below() -> None:
    text = table(
        [
            Readiness("north", True, (), COUNTS),
            Readiness("south-east", False, ("it did not answer in time", "another reason")),
            Readiness("federation", True, ("1 of 2 sites are ready, 1 needed",)),
        ]
    )
    assert text.splitlines() == [
        "site               patients  photographs  grades 0–4              oedema     ungradable  cameras",
        "north       go     100       200          100 / 20 / 60 / 0 / 20  10 of 100  15          canon 150, other 50",
        "south-east  no-go",
        "  it did not answer in time",
        "  another reason",
        "federation  go",
        "  1 of 2 sites are ready, 1 needed",
    ]


def test_a_table_without_sites_is_a_header() -> None:
    assert table([]).startswith("site")
