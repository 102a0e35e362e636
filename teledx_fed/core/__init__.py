"""Values that every layer may use. Nothing here imports another part of the library."""
