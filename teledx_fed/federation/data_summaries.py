"""Summaries of the sites' data before training, and whether the sites are ready."""

from collections.abc import Mapping, Sequence

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from teledx_fed.config.data import PartitionSettings
from teledx_fed.config.federation import FederationSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Identification, SetAsideReason
from teledx_fed.core.reports import Counts, Readiness
from teledx_fed.core.updates import Tables
from teledx_fed.data.summary import SIDES, by_cell
from teledx_fed.federation.replies import summary_spec, validate_tables
from teledx_fed.federation.send_and_collect import Replies, named_sites, send_and_collect
from teledx_fed.federation.site import SUMMARY

LEAST_PATIENTS = 50
LEAST_REFERABLE = 5
"""Fewest referable photographs in validation and in test: with fewer, one eye changes sensitivity by over a fifth."""
MOST_UNGRADABLE = 0.5
MOST_SMALL = 0.5
"""The largest share of photographs that may be smaller than the input of the network."""


def ask_for_summaries(
    grid: Grid, settings: FederationSettings, nodes: Mapping[int, str] | None = None
) -> tuple[Replies, dict[str, Tables]]:
    """Ask `nodes`, or every site, for the summary of its data; return the replies, and the tables of each site."""
    nodes = named_sites(grid) if nodes is None else nodes
    sent = [Message(RecordDict(), dst_node_id=node, message_type=SUMMARY) for node in nodes]
    tables: dict[str, Tables] = {}

    def validate(site: str, content: RecordDict) -> Tables | str:
        return validate_tables(content, summary_spec(settings.max_examples))

    return send_and_collect(grid, sent, nodes, settings, validate, tables.__setitem__), dict(sorted(tables.items()))


def declarations(
    grid: Grid, nodes: Mapping[int, str], declared: Mapping[str, int], settings: FederationSettings
) -> tuple[dict[str, int], Replies]:
    """Ask those of `nodes` without a declaration for their number of photographs.

    Return all declarations so far, and the replies to this request. A site declares once in a run: the server refuses a
    later count above its declaration.
    """
    undeclared = {node: name for node, name in nodes.items() if name not in declared}
    replies, tables = ask_for_summaries(grid, settings, undeclared)
    return {**declared, **{site: int(counts["declared"][0]) for site, counts in tables.items()}}, replies


def readiness(replies: Replies, tables: Mapping[str, Tables], settings: Settings) -> list[Readiness]:
    """Return the readiness of every site that was asked, sorted by name."""
    results = [
        *(_of_site(name, by_cell(tables[name]), settings) for name in replies.accepted),
        *(Readiness(name, False, (f"its answer was refused: {reason}",)) for name, reason in replies.refused.items()),
        *(Readiness(name, False, ("it did not answer in time",)) for name in replies.silent),
    ]
    return sorted(results, key=lambda site: site.name)


def together(sites: Sequence[Readiness], settings: Settings) -> Readiness:
    """Return whether the federation can begin: it needs a quorum of ready sites."""
    ready, quorum = sum(site.go for site in sites), settings.federation.quorum
    reasons = (f"{ready} of {len(sites)} sites are ready, {quorum} needed", *_heaviest(sites, settings))
    return Readiness("federation", ready >= quorum, reasons)


def _heaviest(sites: Sequence[Readiness], settings: Settings) -> list[str]:
    """Return a warning if one of three or more sites would have more than half of the weight."""
    declared = {site.name: _sum(site.counts["declared"]) for site in sites if site.counts}
    if len(declared) < 3 or settings.strategy.weighting != "examples":
        return []
    name, most = max(declared.items(), key=lambda item: item[1])
    share = most / max(sum(declared.values()), 1)
    advice = "Confirm the number with the site, or set strategy.weighting=sqrt"
    return [f"{name} declares {most} photographs and would have {share:.0%} of the weight. {advice}"] * (share > 0.5)


def _of_site(name: str, counts: Counts, settings: Settings) -> Readiness:
    size = settings.data.image_size
    checks = (_patients(counts), *_referable(counts, settings.partition), _gradable(counts), _large(counts, size))
    against = tuple(filter(None, checks))
    warnings = tuple(filter(None, [_identification(counts)]))
    return Readiness(name, not against, against + warnings, counts)


def _patients(counts: Counts) -> str | None:
    patients = _sum(counts["patients"])
    return f"{LEAST_PATIENTS} patients are needed, it has {patients}" if patients < LEAST_PATIENTS else None


def _referable(counts: Counts, partition: PartitionSettings) -> list[str]:
    referable = sum(count for grade, count in counts["grades"].items() if int(grade) >= 2)
    shares = {"validate": partition.validation, "test": partition.test}
    needed = f"{LEAST_REFERABLE} referable photographs are needed to"
    return [
        f"{needed} {use} on, {share:g} of {referable} is {share * referable:g}"
        for use, share in shares.items()
        if share * referable < LEAST_REFERABLE
    ]


def _gradable(counts: Counts) -> str | None:
    graded, ungradable = _sum(counts["grades"]), counts["set_aside"][SetAsideReason.UNGRADABLE]
    share = ungradable / max(graded + ungradable, 1)
    return f"at most {MOST_UNGRADABLE:.0%} may be ungradable, {share:.0%} are" if share > MOST_UNGRADABLE else None


def _large(counts: Counts, size: int) -> str | None:
    """Return a reason if too many photographs are too small. A bin that contains the size counts as large enough."""
    sides = list(counts["sides"].values())
    small = sum(count for count, end in zip(sides, SIDES[1:], strict=False) if end <= size)
    share = small / max(sum(sides), 1)
    return f"at most {MOST_SMALL:.0%} may be smaller than {size} px, {share:.0%} are" if share > MOST_SMALL else None


def _identification(counts: Counts) -> str | None:
    for identification in (
        Identification.UNKNOWN,
        Identification.PARTLY_INFERRED,
        Identification.PARTLY_GIVEN,
    ):
        if counts["patients"][identification]:
            return f"patients are {identification}: one with two photographs may be trained and tested on"
    return None


def _sum(cells: Mapping[str, int]) -> int:
    return sum(cells.values())
