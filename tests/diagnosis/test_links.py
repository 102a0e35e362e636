"""Links: a page that accepts one study without a log-in, once."""

import io
from datetime import timedelta

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image, ImageFilter

from teledx_fed.data.photographs import png
from teledx_fed.diagnosis.clinic import Clinic


def test_a_link_accepts_one_study_without_a_log_in(clinic: Clinic, visitor: TestClient, photographs) -> None:
    token, link = clinic.store.access.add_link("clinic by the sea", timedelta(hours=1))
    files = {"right": ("r", photographs.right), "left": ("l", photographs.left)}
    assert visitor.get(f"/link/{token}").status_code == 200
    assert "Thank you" in visitor.post(f"/link/{token}", files=files).text
    (entry,) = clinic.store.worklist()
    assert entry.source == link.source
    for response in (
        visitor.get(f"/link/{token}"),
        visitor.post(f"/link/{token}", files=files),
        visitor.get("/link/x"),
    ):
        assert (response.status_code, "Ask for another" in response.text) == (404, True)


def test_a_link_is_not_used_up_by_poor_or_missing_photographs(clinic: Clinic, visitor: TestClient, photographs) -> None:
    token, _ = clinic.store.access.add_link("clinic by the sea", timedelta(hours=1))
    with Image.open(io.BytesIO(photographs.left)) as image:
        blurred = png(np.array(image.filter(ImageFilter.GaussianBlur(12))))
    files = {"right": ("r", photographs.right), "left": ("l", blurred)}
    response = visitor.post(f"/link/{token}", files=files)
    assert "Please take again" in response.text
    assert "Left eye: " in response.text
    assert "Right eye: " not in response.text
    assert clinic.store.worklist() == ()
    assert list(clinic.store.folder.rglob("*.png")) == []
    assert "No photograph of the left eye" in visitor.post(f"/link/{token}", files={"right": files["right"]}).text
    assert clinic.store.worklist() == ()
    assert "Thank you" in visitor.post(f"/link/{token}", files=files, data={"anyway": "yes"}).text
    assert len(clinic.store.worklist()) == 1


def test_a_link_without_a_photograph_shows_the_form_again(clinic: Clinic, visitor: TestClient) -> None:
    token, _ = clinic.store.access.add_link("clinic by the sea", timedelta(hours=1))
    page = visitor.post(f"/link/{token}", data={"anyway": "yes"})
    assert (page.status_code, "No photograph of the right eye is chosen." in page.text) == (200, True)
    assert clinic.store.worklist() == ()
