"""One job for this project and its peers, each in its own process and virtual environment."""
