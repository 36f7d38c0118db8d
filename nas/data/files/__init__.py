"""Image and mask files: found, paired, read, resized, cached."""
