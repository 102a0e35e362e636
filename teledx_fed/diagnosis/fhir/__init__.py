"""Studies as FHIR R4: what portals send, and what the clinic sends."""
