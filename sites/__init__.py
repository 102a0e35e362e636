"""What a hospital runs."""
