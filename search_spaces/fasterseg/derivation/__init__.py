"""From logits to a derived network: branches, paths, compaction."""
