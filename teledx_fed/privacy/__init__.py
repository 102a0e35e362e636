"""What keeps a patient from being told by what a hospital sends."""
