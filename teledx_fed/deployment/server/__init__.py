"""The coordinator's side: the SuperLink, the runs, and the page that shows the state of the federation."""
