"""A deterministic simulation of the whole server; see `simulation.world`."""
