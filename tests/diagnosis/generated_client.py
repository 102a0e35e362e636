"""A device, written against a client that openapi-python-client made; run as a program, it prints what it is told."""

import io
import json
import sys
from base64 import b64encode
from pathlib import Path

from teledx_fed_client import AuthenticatedClient
from teledx_fed_client.api.studies import study_status, submit_bundle, submit_study
from teledx_fed_client.api.uploads import begin_upload, continue_upload, give_up_upload, upload_progress
from teledx_fed_client.models import Announced, BodySubmitStudy, Bundle, Eye
from teledx_fed_client.types import File

EYES = [Eye.RIGHT, Eye.LEFT]
SNOMED = "http://snomed.info/sct"
SIDES = {Eye.RIGHT: "24028007", Eye.LEFT: "7771000"}


def main(address: str, token: str, photographs: dict[Eye, bytes]) -> dict[str, object]:
    client = AuthenticatedClient(base_url=address, token=token)
    stranger = AuthenticatedClient(base_url=address, token="guessed")
    sent = submit_study.sync_detailed(client=client, body=form(photographs), idempotency_key="1")
    again = submit_study.sync(client=client, body=form(photographs), idempotency_key="1")
    in_parts = BodySubmitStudy(eyes=EYES, uploads=[upload(client, photographs[eye]) for eye in EYES])
    gone = begin_upload.sync(client=client, body=Announced(length=5)).id
    refused = submit_study.sync_detailed(client=client, body=BodySubmitStudy(eyes=EYES), idempotency_key="2")
    return {
        "sent": [sent.status_code, sent.parsed.to_dict()],
        "again": again.id,
        "status": study_status.sync(sent.parsed.id, client=client).status.value,
        "in_parts": submit_study.sync(client=client, body=in_parts, idempotency_key="3").to_dict(),
        "given_up": give_up_upload.sync_detailed(gone, client=client).status_code,
        "fhir": submit_bundle.sync(client=client, body=bundle(photographs), idempotency_key="4").to_dict(),
        "refused": [refused.status_code, refused.parsed.to_dict()],
        "stranger": study_status.sync(sent.parsed.id, client=stranger).detail,
        "outcome": submit_bundle.sync(client=client, body=bundle({}), idempotency_key="5").to_dict(),
    }


def form(photographs: dict[Eye, bytes]) -> BodySubmitStudy:
    files = [File(io.BytesIO(photographs[eye]), f"{eye.value}.png", "image/png") for eye in EYES]
    return BodySubmitStudy(eyes=EYES, images=files, patient="4711", record='{"age": 61, "diabetes": "type_2"}')


def upload(client: AuthenticatedClient, content: bytes) -> str:
    """In two parts."""
    begun = begin_upload.sync(client=client, body=Announced(length=len(content)))
    for piece in (content[:1000], content[1000:]):
        offset = upload_progress.sync(begun.id, client=client).offset
        continue_upload.sync(begun.id, client=client, body=File(io.BytesIO(piece)), upload_offset=offset)
    return str(begun.id)


def bundle(photographs: dict[Eye, bytes]) -> Bundle:
    media = [
        {
            "resourceType": "Media",
            "status": "completed",
            "content": {"data": b64encode(content).decode()},
            "bodySite": {"coding": [{"system": SNOMED, "code": SIDES[eye]}]},
        }
        for eye, content in photographs.items()
    ]
    entries = [{"resource": each} for each in media]
    return Bundle.from_dict({"resourceType": "Bundle", "type": "collection", "entry": entries})


if __name__ == "__main__":
    address, token, *files = sys.argv[1:]
    photographs = {eye: Path(file).read_bytes() for eye, file in zip(EYES, files, strict=True)}
    sys.stdout.write(json.dumps(main(address, token, photographs)))
