"""LGCNet: local-to-global information communication."""
