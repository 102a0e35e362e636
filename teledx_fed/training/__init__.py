"""Learning from one shard: at a site, and in the baselines that the federation is compared with."""
