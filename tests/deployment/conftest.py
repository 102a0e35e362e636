"""Allow tests in subfolders to import the helpers in this folder."""
