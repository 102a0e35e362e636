"""Error responses: a page for browsers, JSON for devices."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from teledx_fed.core.errors import TeledxError, UnavailableError
from teledx_fed.core.failures import log_unexpected, of_machine
from teledx_fed.diagnosis.web.rendering import render
from teledx_fed.diagnosis.web.sessions import current_user

CODES = {401: "login", 404: "not-found", 405: "not-supported", 413: "too-long", 429: "throttled", 507: "no-store"}
"""FHIR issue codes by HTTP status."""
WITHOUT_REASON = tuple(HTTPStatus(status).phrase for status in (404, 405))
"""Messages of the web framework, which repeat the title."""
TITLES = {403: "Not allowed", 404: "Not found", 405: "Not found", 413: "Too large"}


def refuse(
    request: Request, status: int, message: str, headers: Mapping[str, str] | None = None, path: str | None = None
) -> Response:
    """Return an error response; `path` is the FHIRPath of the wrong element."""
    if request.url.path.startswith("/api/v1/fhir/"):
        return JSONResponse(_outcome(status, message, path), status, headers, media_type="application/fhir+json")
    if request.url.path.startswith("/api/"):
        return JSONResponse({"detail": message}, status, headers)
    title = TITLES.get(status, "Not done")
    message = "There is no such page." if message in WITHOUT_REASON else message
    return render(request, "refused", current_user(request), status, title=title, message=message)


def _outcome(status: int, message: str, path: str | None) -> dict[str, Any]:
    """Return a FHIR R4 OperationOutcome."""
    issue = {"severity": "error", "code": CODES.get(status, "invalid"), "diagnostics": message}
    location = {} if path is None else {"expression": [path]}
    return {"resourceType": "OperationOutcome", "issue": [{**issue, **location}]}


def fail(request: Request, error: Exception) -> Response:
    """Answer an unexpected error: with a message for an error of the machine, else with a reference number."""
    message = of_machine(error) or log_unexpected(error)
    if request.url.path.startswith("/api/"):
        return refuse(request, 500, message)
    return render(request, "refused", None, 500, title="Not done", message=message)  # the database may have failed


def report_errors(site: FastAPI) -> None:
    """Register handlers for the expected errors."""

    @site.exception_handler(TeledxError)
    async def not_valid(request: Request, error: TeledxError) -> Response:
        return refuse(request, 503 if isinstance(error, UnavailableError) else 422, str(error))

    @site.exception_handler(RequestValidationError)
    async def not_filled_in(request: Request, error: RequestValidationError) -> Response:
        if request.url.path.startswith("/api/") and not request.url.path.startswith("/api/v1/fhir/"):
            return await request_validation_exception_handler(request, error)
        return refuse(request, 422, " ".join(f"{item['loc'][-1]}: {item['msg']}." for item in error.errors()))

    @site.exception_handler(HTTPException)
    async def not_done(request: Request, error: HTTPException) -> Response:
        if error.status_code < 400:
            return Response(status_code=error.status_code, headers=error.headers)
        return refuse(request, error.status_code, str(error.detail), error.headers)
