"""A real archive, Orthanc."""

import io
import json
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset, dcmread
from serving import free_port

STUDY = "1.2.826.0.1.3680043.8.498.7"


def tool(name: str) -> str:
    if (path := shutil.which(name) or shutil.which(f"/usr/sbin/{name}")) is None:
        pytest.skip(f"{name} is not installed")
    return path


KNOWN = {
    "PatientID": "MRN 7",
    "PatientName": "Müller^Jane",
    "IssuerOfPatientID": "NORTH",
    "PatientBirthDate": "19600203",
    "PatientSex": "F",
    "StudyInstanceUID": STUDY,
    "StudyDate": "20260130",
    "StudyTime": "101500",
    "StudyID": "7",
    "AccessionNumber": "A-0007",
}


WEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class Orthanc:
    def __init__(self, folder: Path, ours: int) -> None:
        self.dicom, self.http = free_port(), free_port()
        folder.mkdir()
        settings = {
            "Name": "archive",
            "StorageDirectory": str(folder),
            "IndexDirectory": str(folder),
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomModalities": {"teledx": ["TELEDX", "127.0.0.1", ours]},
            "Plugins": [str(WEB_PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([tool("Orthanc"), str(folder / "settings.json")], **quiet)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.http}", timeout=30)
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and self.process.poll() is None:
            try:
                self.client.get("/system").raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError("Orthanc did not start")

    def instances(self) -> list[Dataset]:
        uids = self.client.get("/instances").json()
        return [dcmread(io.BytesIO(self.client.get(f"/instances/{uid}/file").content)) for uid in uids]
