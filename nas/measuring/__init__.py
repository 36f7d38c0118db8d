"""Timing of operations and networks, and tables made of timings."""
