import json
import re
from pathlib import Path

import pytest
from invented_run import GRADED, SITES, estimate, report, rounds, write_run
from parsed_page import ParsedPage

from teledx_fed.reporting import plots
from teledx_fed.reporting.page import write_page


def page(folder: Path, run: dict[str, object]) -> ParsedPage:
    parsed = ParsedPage(write_page(write_run(folder, run)).read_text("utf-8"))
    assert parsed.open == []
    return parsed


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> ParsedPage:
    run = report()
    run["federated"]["sites"]["eyepacs"]["sensitivity"] = {"value": 0.871, "low": 0.812, "high": 0.923}
    return page(tmp_path_factory.mktemp("run"), run)


def test_the_page_of_a_full_run_has_all_sections(full: ParsedPage) -> None:
    assert (
        "Federated referable AUROC 0.91 (0.88–0.94), mean of 4 hospitals; "
        "0.05 (0.02–0.08) above each hospital alone on average; "
        "no clear difference from all data in one place, −0.01 (−0.04 to 0.02)." in full.text
    )
    assert full.headings == [
        "Each hospital",
        "Gain over the baselines",
        "Every model at every hospital",
        "Learning",
        "Confusion of grades",
        "ROC for referable eyes",
        "Operating points",
        "Reliability",
        "Photographs set aside",
        "Hospitals",
        "Cost",
        "Every metric",
        "Settings",
    ]
    assert "messidor2_b was refused in round 3: update must be plausible" in full.text
    assert "aravind was silent in rounds 2, 5" in full.text
    assert "153.0 MB" in full.text
    assert "12 min 11 s" in full.text
    assert "name: fedavg" in full.text
    assert full.text.endswith("Assistive research software: a suggestion, not a diagnosis.")


def test_each_hospital_and_model_has_its_numbers(full: ParsedPage) -> None:
    assert ["Federated", "0.91 (0.88–0.94)"] in [row[:2] for row in full.rows]
    assert ["Sensitivity", "0.871 (0.812–0.923)"] in [row[:2] for row in full.rows]
    assert ["Severe eyes called not referable", *4 * ["3 (1–5)"]] in full.rows
    assert ["aravind", "0", "61", "130", "123", "30"] in full.rows


def test_both_operating_points_of_each_hospital_have_counts(full: ParsedPage) -> None:
    urgent = [row for row in full.rows if row[0].endswith(" urgent")]
    assert [row[0] for row in urgent] == [f"{site} urgent" for site in SITES]
    assert urgent[0][1:4] == ["0.90 (0.80–1.00) 18 of 20", "0.95 (0.85–1.00) 95 of 100", "0.78 (0.68–0.88) 18 of 23"]
    assert urgent[0][4:] == ["0.400", "chosen on this hospital's eyes, to reach sensitivity 0.9"]
    assert "federation's counts" in urgent[1][5]
    assert urgent[2][5] == "withheld (3 diseased eyes are too few)"
    assert ["messidor2_a", "0.95 (0.85–1.00) 95 of 100", "120", "0.95 (0.85–1.00) 95 of 100", "–"] in full.rows


def test_intervals_of_a_hospital_show_how_its_patients_are_identified(full: ParsedPage) -> None:
    for site, identified in zip(SITES, ("given", "partly inferred", "unknown", "given"), strict=True):
        # two metrics in bars and against three baselines, two tables of every metric
        assert full.text.count(f"(patients {identified})") >= 2 + 6 + 2
        assert f"{site} (patients {identified})" in full.text
        assert f"{site} {identified}" in full.text


def test_the_page_needs_no_other_file_and_no_script(full: ParsedPage) -> None:
    assert {"script", "link", "img", "iframe"}.isdisjoint(full.tags)
    assert all(address.startswith("#") for address in full.addresses)


def test_html_in_a_name_or_reason_is_escaped(tmp_path: Path) -> None:
    hostile = '<script>alert("$x_{")</script>'
    run = report((hostile, "東京"), ("local",))
    run["refused"]["東京"] = {"1": "<img src=http://elsewhere>"}
    parsed = page(tmp_path, run)
    assert "script" not in parsed.tags
    assert "img" not in parsed.tags
    assert hostile in parsed.text
    assert "<img src=http://elsewhere>" in parsed.text


def test_an_undefined_metric_is_a_dash(tmp_path: Path) -> None:
    run = report(SITES[:2], ("local",))
    run["federated"]["sites"]["eyepacs"]["calibration_slope"] = None
    run["federated"]["sites"]["eyepacs"]["referable_auroc"] = None
    run["differences"]["local"]["sites"]["eyepacs"]["referable_auroc"] = None
    run["curves"]["federated"]["eyepacs"]["roc"] = {"false_positive_rate": [], "true_positive_rate": []}
    parsed = page(tmp_path, run)
    assert ["Calibration slope", "–"] in [row[:2] for row in parsed.rows]
    assert not re.search(r"\bnan\b", (tmp_path / "report.html").read_text("utf-8"), re.IGNORECASE)
    bars, forests, learning, roc, reliability = 2, 2, 2, 1, 2
    assert parsed.tags.count("svg") == bars + forests + learning + roc + reliability


def test_a_mean_over_some_of_the_hospitals_states_their_number(tmp_path: Path) -> None:
    run = report(SITES[:2], ())
    run["federated"]["mean_of_sites"]["referable_auroc"] = estimate(0.8) | {"sites": 1}
    assert "0.80 (0.77–0.83), mean of 1 of 2 hospitals" in page(tmp_path, run).text


@pytest.mark.parametrize(
    "baselines", [("centralised",), *(pytest.param(b, marks=pytest.mark.slow) for b in ((), ("local", "ensemble")))]
)
def test_a_baseline_that_was_not_trained_is_not_on_the_page(tmp_path: Path, baselines: tuple[str, ...]) -> None:
    parsed = page(tmp_path, report(SITES[:1], baselines))
    assert ("Gain over the baselines" in parsed.headings) == bool(baselines)
    for baseline, title in (("ensemble", "Ensemble of the local models"), ("centralised", "All data in one place")):
        assert (title in parsed.text) == (baseline in baselines)


def test_a_binary_head_has_no_metrics_of_grades(tmp_path: Path) -> None:
    run = report(SITES[:2], ("local",), head="referable")
    assert all(run["federated"]["mean_of_sites"][metric] is None for metric in GRADED)
    parsed = page(tmp_path, run)
    assert "Confusion of grades" not in parsed.headings
    assert "QWK" not in parsed.text
    assert "Accuracy over five grades" not in parsed.text
    assert "Sensitivity" in parsed.text


def test_scores_of_a_round_are_drawn_at_the_round_that_made_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(plots, "learning_curve", lambda *course: drawn.append(course) or "")
    run = report(SITES[:1], ())
    page(tmp_path, run)
    course = [(after, line["metrics"]["referable_auroc"]) for after, line in enumerate(rounds(run))]
    assert drawn[0] == ([course], 7)


def test_the_best_round_is_named(full: ParsedPage, tmp_path: Path) -> None:
    assert "best: round 7" in full.text
    run = report(SITES[:1], ())
    run["parts"][0]["best_round"] = 0
    assert "best: the initial model" in page(tmp_path, run).text


def test_a_run_without_refusals_shows_that_nothing_was_set_aside(tmp_path: Path) -> None:
    quiet = {site: {} for site in SITES[:1]}
    parsed = page(tmp_path, report(SITES[:1], ()) | {"set_aside": quiet, "refused": quiet, "silent": quiet})
    assert "None: no photograph was" in parsed.text
    assert "was refused" not in parsed.text
    assert "was silent" not in parsed.text


def test_skipped_files_and_photographs_without_a_patient_are_counted(full: ParsedPage) -> None:
    assert (
        "aravind, files that were left out: 12 .heic, 3 .txt (not a photograph that this program reads)." in full.text
    )
    assert "eyepacs partly inferred (74 photographs count as a patient each)" in full.text


def test_names_of_photographs_stay_out_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "set_aside.csv").write_text("site,name,reason,detail\naravind,patient-7.png,bad,truncated\n")
    parsed = page(tmp_path, report(SITES[:1], ()))
    assert "set_aside.csv" in parsed.text
    assert "patient-7" not in parsed.text


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    written = [write_page(write_run(tmp_path, report(SITES[:2], ("local",)))).read_bytes() for _ in range(2)]
    assert written[0] == written[1]
    assert b"<dc:date>" not in written[0]


def test_a_report_of_another_version_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path, report())
    (folder / "report.json").write_text(json.dumps(report() | {"schema": "teledx_fed.report/9"}))
    with pytest.raises(ValueError, match=r"report\.json must have schema 'teledx_fed.report/3', got"):
        write_page(folder)


@pytest.mark.slow
def test_simulated_faults_are_at_the_top_of_the_page(tmp_path: Path) -> None:
    write_run(tmp_path, report())
    config = json.loads((tmp_path / "config.yaml").read_text())
    faults = {"kinds": ["sign_flip"], "sites": ["harbour"], "first": 2, "share": 0.5}
    (tmp_path / "config.yaml").write_text(json.dumps({**config, "faults": faults}))
    text = ParsedPage(write_page(tmp_path).read_text("utf-8")).text
    assert "Simulated faults: sign flip at harbour with probability 0.5, from round 2 on" in text.replace(" .", ".")
    assert "Simulated faults" not in page(tmp_path, report()).text


@pytest.mark.slow
def test_the_page_shows_the_settings_without_paths(tmp_path: Path) -> None:
    text = page(tmp_path, report()).text
    assert "seed: 12345" in text
    assert "layout: eyepacs" in text
    assert "/ward" not in text
    assert str(tmp_path) not in text


@pytest.mark.slow
def test_a_run_of_several_folds_explains_how_to_get_a_bundle(tmp_path: Path) -> None:
    run = report(SITES[:1], ())
    assert "No bundle" not in page(tmp_path, run).text
    run["parts"] = [run["parts"][0] | {"fold": fold, "name": ""} for fold in range(5)]
    text = page(tmp_path, run).text
    assert "No bundle was written: this run trained 5 models" in text
    assert "seeds=[] evaluation.folds=1" in text


@pytest.mark.slow
def test_hospitals_with_the_same_people_are_named_with_a_count(tmp_path: Path) -> None:
    run = report(SITES[:2], ()) | {"shared": {"aravind and eyepacs": 12}}
    assert "aravind and eyepacs, 12 photographs set aside" in page(tmp_path, run).text
    assert "The same people" not in page(tmp_path, report(SITES[:2], ())).text
