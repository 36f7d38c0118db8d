"""The supernet: a lattice of cells of searched operators, widths and paths."""
