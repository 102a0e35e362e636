"""The clinicians' pages, and the API for devices and portals."""
