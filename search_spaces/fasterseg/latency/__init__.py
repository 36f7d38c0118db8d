"""Expected latency of the lattice, whose paths depend on each other."""
