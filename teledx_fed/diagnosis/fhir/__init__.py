"""Studies as FHIR R4: intake from portals, and export."""
