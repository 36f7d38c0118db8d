"""The derived network: branches that share cells, and their operators."""
