"""The search itself: supernet, architecture parameters, relaxation, steps, derivation."""
