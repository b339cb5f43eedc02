"""The parts of ``scripts/fuzz.py``: the codec against others, and hostile sessions against a live server."""
