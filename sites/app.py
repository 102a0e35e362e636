"""The Flower ClientApp of a hospital: `site` in the node's configuration says which hospital of the settings it is."""

from teledx_fed.federation.ray_runtime import hospital_of
from teledx_fed.federation.site import client_app

app = client_app(hospital_of)
