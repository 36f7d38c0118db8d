"""Memory that a deployed network needs: its weights, and the maps that are alive at the same time."""
