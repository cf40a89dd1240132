"""Models as files that other simulators read."""
