"""The coordinator's side: the SuperLink, the runs, and the page that shows where the federation stands."""
