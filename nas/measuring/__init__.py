"""How operations and networks are timed, and how a table is made of timings."""
