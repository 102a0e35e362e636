"""Replace one section of a page of results, whose sections come from different benchmarks."""

from pathlib import Path

from teledx_fed.core.files import write_text

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def write_section(page: Path, name: str, text: str) -> None:
    """Replace the text between the comments `<!-- name -->` and `<!-- /name -->`, which the page must have."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, opening, rest = page.read_text().partition(begin)
    _, closing, after = rest.partition(end)
    if not (opening and closing):
        raise ValueError(f"{page} must contain {begin.strip()} and {end}, got one of them or none. Add them.")
    write_text(page, before + begin + text.strip() + "\n" + end + after)
