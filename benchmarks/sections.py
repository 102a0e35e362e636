"""Replace one section of a page of results, whose sections come from different benchmarks."""

from pathlib import Path

from teledx_fed.core.files import write_text

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def write_section(page: Path, name: str, text: str) -> None:
    """Replace the text between the comments `<!-- name -->` and `<!-- /name -->`, which the page must have."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = page.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{page} must hold {begin.strip()} and {end}, got neither or one. Put them in.")
    write_text(page, before + begin + text.strip() + "\n" + end + after)
