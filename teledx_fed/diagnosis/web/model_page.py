"""Page about the model in use: training, thresholds with their performance, and limits."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from teledx_fed.core.operating_points import basis, percentage
from teledx_fed.diagnosis.web.rendering import clinic_of, render
from teledx_fed.diagnosis.web.sessions import Session

router = APIRouter(include_in_schema=False)


@router.get("/model", response_class=HTMLResponse)
def model_page(request: Request, session: Session) -> HTMLResponse:
    bundle = clinic_of(request).bundle
    points = bundle.manifest.calibration.points
    listed = [("Refer", points.referable), *([("Urgent", points.urgent)] if points.urgent else [])]
    return render(
        request,
        "model",
        session,
        manifest=bundle.manifest,
        digest=bundle.digest,
        replaced=bundle.replaced,
        points=listed,
        basis=basis,
        percentage=percentage,
    )
