"""Batches: loading, augmentation, parts for several processes, held-out halves."""
