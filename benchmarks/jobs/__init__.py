"""One job, done by this project and by its peers, each in a process and a virtual environment of its own."""
