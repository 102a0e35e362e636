"""Health checks and metrics. Neither contains data of a patient, a reader or a device."""

import shutil
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address, ip_network

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.metrics import CONTENT_TYPE, RequestMetrics
from teledx_fed.diagnosis.web.rendering import clinic_of
from teledx_fed.diagnosis.web.settings import DiagnosisSettings

router = APIRouter(include_in_schema=False)

SOURCES = {"/upload": "page", "/link": "link", "/api/v1/studies": "device", "/api/v1/fhir/studies": "fhir"}
"""Paths that receive studies; a link's path continues with its token."""
NOT_TAKEN = (409, 413, 422, 429, 507)
"""Statuses of refused studies; requests without authorisation do not count."""


@router.get("/healthz")
def health(request: Request) -> JSONResponse:
    """Return named checks, without a log-in; 503 unless all hold."""
    checks = _checks(clinic_of(request), request.app.state.settings)
    healthy = all(checks.values())
    return JSONResponse({"healthy": healthy, "checks": checks}, 200 if healthy else 503)


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Return the metrics to the addresses in `metrics_from`."""
    if not _may_read(request.client.host if request.client else "", request.app.state.settings.metrics_from):
        raise HTTPException(403, "Metrics are for the addresses that metrics_from in diagnosis.yaml names.")
    traffic: RequestMetrics = request.app.state.traffic
    return Response(traffic.metrics(), media_type=CONTENT_TYPE)


async def count_request(
    request: Request, traffic: RequestMetrics, answer: Callable[[], Awaitable[Response]]
) -> Response:
    """Count a request by its route's path: the requested URL may name a patient and has no limited set of values."""
    start, status = time.perf_counter(), 500
    try:
        response = await answer()
        status = response.status_code
    finally:
        route = request.scope.get("route")
        path = getattr(route, "path", "none")
        traffic.count(request.method if route else "none", path, status, time.perf_counter() - start)
        if (source := _source_of(request)) and status in NOT_TAKEN:
            traffic.count_refused(source)
    return response


def _source_of(request: Request) -> str | None:
    """Return how a study was sent, also for a request that no route handled."""
    path = request.url.path
    route = "/link" if path.startswith("/link/") else path
    return SOURCES.get(route) if request.method == "POST" else None


def _checks(clinic: Clinic, settings: DiagnosisSettings) -> dict[str, bool]:
    return {
        "database": clinic.store.reachable,
        "identities": clinic.identified.reachable,
        "model": not clinic.bundle.replaced,
        "disk": shutil.disk_usage(clinic.store.folder).free >= settings.free_disk_mib * 2**20,
    }


def _may_read(host: str, allowed: list[str]) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in ip_network(network) for network in allowed)
