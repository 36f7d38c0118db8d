"""Places in which the worker runs: on this machine or on another one, and its way there."""
