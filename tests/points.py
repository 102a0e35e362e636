"""Operating points for tests."""

from teledx_fed.core.operating_points import Bound, OperatingPoint, OperatingPoints, Performance, Share, Source


def point(threshold: float, source: Source = Source.LOCAL) -> OperatingPoint:
    measured = Performance(share(18, 20), share(95, 100), share(18, 23))
    withheld = source is Source.WITHHELD
    return OperatingPoint(
        threshold=threshold,
        source=source,
        bound_by=Bound.SENSITIVITY,
        target_sensitivity=0.9,
        least_specificity=0.9,
        positives=3 if withheld else 20,
        negatives=100,
        pooled_positives=0,
        reason="3 diseased eyes are too few" if withheld else "",
        validation=measured,
        test=measured,
    )


def points(referable: float, urgent: float, source: Source = Source.LOCAL) -> OperatingPoints:
    """Return operating points; `source` is that of the urgent one."""
    return OperatingPoints(point(referable), point(urgent, source))


def share(count: int, of: int) -> Share:
    return Share(count, of, count / of, max(0, count / of - 0.1), min(1, count / of + 0.1))
