"""Read the photographs and grades of a source by its layout."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from teledx_fed.config.data import OEDEMA_WORDS, SourceSettings
from teledx_fed.core import extensions
from teledx_fed.core.checks import must, one_of
from teledx_fed.core.examples import Collection, Identification
from teledx_fed.data.folder_layouts import FOLDER_LAYOUTS
from teledx_fed.data.listing import BINARY, ICDR, OEDEMA, Listing, collect
from teledx_fed.data.messidor2_layout import messidor2
from teledx_fed.data.problems import Problem
from teledx_fed.data.public_layouts import PUBLIC_LAYOUTS
from teledx_fed.data.tables import code
from teledx_fed.data.walk import describe_not_taken, unreadable

LayoutFunction = Callable[[Path, SourceSettings], Listing]
"""A function that lists the photographs and grades below a folder."""

LAYOUTS: Mapping[str, LayoutFunction] = {
    layout.__name__: layout for layout in (*PUBLIC_LAYOUTS, messidor2, *FOLDER_LAYOUTS)
}
ENTRY_POINTS = "teledx_fed.layouts"
"""Entry point group of layouts in installed packages. Only the settings of a simulation and site.yaml name layouts: a
source is never received over a network."""

Value = TypeVar("Value")


def layout_names() -> tuple[str, ...]:
    """Return the names of built-in and installed layouts. Raise a `ConfigurationError` for a name in both."""
    installed = extensions.names(ENTRY_POINTS)
    for name in installed:
        remedy = "Rename it in the package that supplies it, or remove the package."
        must(name not in LAYOUTS, f"entry point {name} of {ENTRY_POINTS}", "differ from built-in layouts", name, remedy)
    return (*LAYOUTS, *installed)


def read(name: str, source: SourceSettings) -> tuple[Collection, tuple[Problem, ...]]:
    """Read the source `name`: its photographs and grades, and every problem in them."""
    layout = _layout(f"data.sources.{name}.layout", source.layout)
    root = Path(source.root)
    try:
        listing = _listing(name, source, root, layout)
    except OSError as error:
        listing = Listing([], Identification.UNKNOWN, [unreadable(Path(error.filename or root), error)])
    return collect(listing, name, {**ICDR, **BINARY, **_by_code("grading", source.grading)}, _oedema(source.oedema))


def _layout(setting: str, name: str) -> LayoutFunction:
    if name in LAYOUTS:
        return LAYOUTS[name]
    one_of(setting, name, layout_names(), remedy=extensions.INSTALL)
    layout: LayoutFunction = extensions.load(ENTRY_POINTS, name)
    return layout


def _listing(name: str, source: SourceSettings, root: Path, layout: LayoutFunction) -> Listing:
    if not (source.root and root.exists()):
        got = f"must be the folder of the data set, got {source.root!r}"
        message = f"{got}. Correct the path: data_root=PATH, or root: PATH where this hospital is described."
        return Listing([], Identification.UNKNOWN, [Problem(f"data.sources.{name}.root", message)])
    listing = layout(root, source)
    must(isinstance(listing, Listing), f"layout {source.layout}", "return a Listing", listing, "Correct the function.")
    if listing.entries or listing.problems or any(files.problems for files in listing.files):
        return listing
    other_files = describe_not_taken(group for files in listing.files for group in files.not_taken)
    message = (
        f"must hold graded photographs, got none{other_files and f'; {other_files}'}. Correct the path, or choose"
        " another layout."
    )
    return replace(listing, problems=[Problem(source.root, message)])


def _oedema(words: Mapping[str, str]) -> Mapping[str, bool | None]:
    return {**OEDEMA, **{word: OEDEMA_WORDS[value.casefold()] for word, value in _by_code("oedema", words).items()}}


def _by_code(name: str, words: Mapping[str, Value]) -> dict[str, Value]:
    """Return a hospital's own words as codes. Raise a `ConfigurationError` where two words give one code."""
    codes = {code(word): value for word, value in words.items()}
    must(len(codes) == len(words), name, "name each code once, in any letter case", list(words), "Keep one of them.")
    return codes
