"""The clinician's page, and the interface that devices and portals submit to."""
