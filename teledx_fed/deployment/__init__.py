"""The same federation over a network: a SuperLink that hospitals reach, and a worker beside each hospital's data."""
