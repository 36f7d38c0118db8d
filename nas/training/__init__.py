"""The loop that search and training share, and what a training adds to it."""
