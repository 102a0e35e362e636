"""What strangers may send, and what becomes of it: mutated files and requests, on the real paths of a clinic."""
