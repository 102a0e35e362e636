"""How each version of a database becomes the next: a file a version, in `site` and in `identified`."""
