"""Training and evaluation on the data of sites: for a federation, and for the baselines."""
