"""The web application: the clinicians' pages and the API for devices."""

from datetime import timedelta
from functools import partial
from pathlib import Path

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.middleware.base import RequestResponseEndpoint

from teledx_fed.core.checks import must
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.metrics import RequestMetrics
from teledx_fed.diagnosis.web import (
    administration,
    api,
    fhir_intake,
    links,
    logging_in,
    model_page,
    monitoring,
    new_study,
    pages,
    reading,
    reports,
    uploads,
)
from teledx_fed.diagnosis.web.oidc import Provider
from teledx_fed.diagnosis.web.passwords import DEMONSTRATION_USER
from teledx_fed.diagnosis.web.refusals import fail, report_errors
from teledx_fed.diagnosis.web.request_filter import disk_full, misdirected, unauthorized, used_up
from teledx_fed.diagnosis.web.schemas import Described
from teledx_fed.diagnosis.web.sessions import Authenticator, has_demonstration_user
from teledx_fed.diagnosis.web.settings import EVERY_ADDRESS, LOOPBACK, DiagnosisSettings

HERE = Path(__file__).parent
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
STATIC = {"page.css": "text/css", "page.js": "text/javascript"}

PARTS = (
    logging_in,
    pages,
    new_study,
    reading,
    reports,
    links,
    administration,
    model_page,
    api,
    fhir_intake,
    uploads,
    monitoring,
)
"""Modules with a router each."""


def app(clinic: Clinic, settings: DiagnosisSettings) -> FastAPI:
    site = Described(
        title="teledx_fed",
        summary="Submit studies of fundus photographs, and read their status.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    site.state.clinic, site.state.settings, site.state.traffic = clinic, settings, RequestMetrics(clinic)
    site.state.authenticator = Authenticator(
        clinic.store.access, timedelta(hours=settings.session_hours), clinic.bundle.manifest.demonstration
    )
    site.state.provider = Provider.of(settings.oidc) if settings.oidc else None
    for part in PARTS:
        site.include_router(part.router)
    report_errors(site)
    _admit_requests(site, clinic, settings)
    _serve_static_files(site)
    return site


def _admit_requests(site: FastAPI, clinic: Clinic, settings: DiagnosisSettings) -> None:
    """Refuse unwanted requests before a route sees them; count all, and add headers to each response."""

    def unwanted(request: Request) -> Response | None:
        access, folder = clinic.store.access, clinic.store.folder
        return (
            unauthorized(request, access)
            or disk_full(request, folder, settings.free_disk_mib)
            or used_up(request, access)
        )

    @site.middleware("http")
    async def add_headers(request: Request, answer: RequestResponseEndpoint) -> Response:
        response = await monitoring.count_request(request, site.state.traffic, partial(admitted, request, answer))
        response.headers.update(HEADERS)
        return response

    async def admitted(request: Request, answer: RequestResponseEndpoint) -> Response:
        try:
            refused = misdirected(request, settings.hosts) or await run_in_threadpool(unwanted, request)
            return refused if refused is not None else await answer(request)
        except Exception as error:  # noqa: BLE001 - the page shows a reference, the log has the traceback
            return await run_in_threadpool(fail, request, error)


def _serve_static_files(site: FastAPI) -> None:
    @site.get("/favicon.ico", include_in_schema=False)
    def no_icon() -> Response:
        return Response(status_code=204)

    @site.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        if name not in STATIC:
            raise HTTPException(404, "There is no such file.")
        return Response((HERE / name).read_bytes(), media_type=STATIC[name])


def server(clinic: Clinic, settings: DiagnosisSettings) -> uvicorn.Server:
    """Return the server; raise a `ConfigurationError` if its settings are unsafe for this bundle or network."""
    _check_served(clinic, settings)
    return uvicorn.Server(
        uvicorn.Config(
            app(clinic, settings),
            settings.host,
            settings.port,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies,
            ws="none",
            access_log=False,
            log_level="warning",
        )
    )


def _check_served(clinic: Clinic, settings: DiagnosisSettings) -> None:
    demonstration = clinic.bundle.manifest.demonstration
    if demonstration and settings.host not in LOOPBACK:
        raise ConfigurationError(
            f"host must be of this machine alone for a demonstration bundle, got {settings.host}. "
            "Diagnose with a model that was trained on patients."
        )
    if not demonstration and has_demonstration_user(clinic.store.access):
        raise ConfigurationError(
            "users must have secret passwords unless the model is a demonstration, got the demonstration's user "
            f"{DEMONSTRATION_USER}. Serve another --dir, or run python -m sites user disable {DEMONSTRATION_USER}."
        )
    must(
        settings.host not in EVERY_ADDRESS or not settings.hosts <= {*LOOPBACK},
        "allowed_hosts",
        "name this page where host is every address",
        settings.allowed_hosts,
        "List the names that browsers use for this page.",
    )
