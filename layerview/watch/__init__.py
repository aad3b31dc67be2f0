"""Copy-on-write as it happens: what a driver did, told event by event, and summed up."""
