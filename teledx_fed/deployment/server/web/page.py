"""The coordinator's read-only page, protected by a token; its only data from sites are counts."""

import hmac
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.middleware.base import RequestResponseEndpoint

from teledx_fed.core.checks import must
from teledx_fed.core.errors import TeledxError
from teledx_fed.core.failures import log_unexpected, of_machine
from teledx_fed.core.formatting import duration, number, size
from teledx_fed.core.reports import RoundReport
from teledx_fed.deployment.common.events import CERTIFICATE_DAYS
from teledx_fed.deployment.server.overview import Overview, fault_in
from teledx_fed.deployment.server.web.curve import curve

HERE = Path(__file__).parent
COOKIE = "teledx_fed"
SHORTEST_TOKEN = 16
LATEST = 12
"""Number of rounds in the list; the curves show all rounds."""
METRICS = {"referable_auroc": "Referable AUROC", "qwk": "QWK"}
UNKNOWN = "Open the address that `python -m server page` printed: it contains the token that this page requires.\n"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def app(overview: Callable[[], Overview], token: str) -> FastAPI:
    """Build the app; `/?token=…` stores the token in a cookie that no script can read."""
    must(len(token) >= SHORTEST_TOKEN, "token", f"have at least {SHORTEST_TOKEN} characters", len(token), "Draw one.")
    site = FastAPI(title="teledx_fed", docs_url=None, redoc_url=None, openapi_url=None)

    @site.middleware("http")
    async def guard(request: Request, answer: RequestResponseEndpoint) -> Response:
        named = _same(request.query_params.get("token"), token)
        if named or _same(request.cookies.get(COOKIE), token):
            try:
                response = await answer(request)
            except TeledxError as error:
                response = PlainTextResponse(f"{error}\n", status_code=503)
            except Exception as error:  # noqa: BLE001 - the page shows a reference, the log has the traceback
                response = PlainTextResponse(f"{of_machine(error) or log_unexpected(error)}\n", status_code=500)
        else:
            response = PlainTextResponse(UNKNOWN, status_code=401)
        if named:
            secure = request.url.scheme == "https"
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure)
        response.headers.update(HEADERS)
        return response

    @site.get("/", response_class=HTMLResponse)
    def page() -> str:
        return render(overview())

    @site.get("/api/overview.json")
    def values() -> dict[str, Any]:
        return asdict(overview())

    @site.get("/page.css")
    def style() -> Response:
        return Response((HERE / "page.css").read_bytes(), media_type="text/css")

    @site.get("/page.js")
    def script() -> Response:
        return Response((HERE / "page.js").read_bytes(), media_type="text/javascript")

    return site


def server(overview: Callable[[], Overview], token: str, host: str, port: int) -> uvicorn.Server:
    """Build the server of the page; it logs no URLs, because one contains the token."""
    return uvicorn.Server(
        uvicorn.Config(
            app(overview, token),
            host,
            port,
            proxy_headers=False,
            ws="none",
            access_log=False,
            log_level="warning",
        )
    )


def _same(value: str | None, token: str) -> bool:
    return value is not None and hmac.compare_digest(value.encode(), token.encode())


def render(overview: Overview) -> str:
    now = datetime.fromisoformat(overview.time)
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "size": size, "duration": duration}
    environment.filters |= {"ago": partial(ago, now), "clock": partial(clock, now)}
    scored = [(report.round - 1, report.metrics) for report in overview.rounds]
    curves = {name: curve([(round, metrics.get(key)) for round, metrics in scored]) for key, name in METRICS.items()}
    return environment.get_template("page.html.jinja").render(
        overview=overview,
        run=overview.run,
        metrics=METRICS,
        scored=dict(scored),
        curves={name: plot for name, plot in curves.items() if plot},
        latest=_latest(overview),
        online=sum(site.online for site in overview.sites),
        expires=overview.certificate_days is not None and overview.certificate_days < CERTIFICATE_DAYS,
        as_of=f"{now.astimezone():%H:%M:%S %Z}",
    )


def _latest(overview: Overview) -> list[tuple[RoundReport, bool]]:
    """Return the newest rounds first, with whether a site had a fault, without the report that only scores a model."""
    trained = [report for report in overview.rounds if overview.run and report.round <= overview.run.round]
    sites = [site.name for site in overview.sites]
    return [(report, any(fault_in(report, site) for site in sites)) for report in reversed(trained[-LATEST:])]


def ago(now: datetime, time: str) -> str:
    seconds = max(0, round((now - datetime.fromisoformat(time)).total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days >= 2:
        return f"{days} days ago"
    return f"{hours} h {minutes % 60:02} min ago" if hours else f"{minutes} min ago" if minutes else f"{seconds} s ago"


def clock(now: datetime, time: str) -> str:
    """Format a time in this machine's time zone, with the day if it is not today."""
    moment, today = datetime.fromisoformat(time).astimezone(), now.astimezone()
    return f"{moment:%H:%M}" if moment.date() == today.date() else f"{moment.day} {moment:%b %H:%M}"
