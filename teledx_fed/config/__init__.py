"""Settings of a run: dataclasses with checks, composing and loading."""
