"""The parts of ``scripts/cluster.py``."""
