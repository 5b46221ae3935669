"""Search for a better configuration of stage 2 (Ray Tune)."""
