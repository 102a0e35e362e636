"""What hospital IT needs before joining: each thing that must hold, how it stands, and what to do about it."""
