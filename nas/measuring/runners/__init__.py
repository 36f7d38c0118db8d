"""Where the worker runs: on this machine or on another one, and how it gets there."""
