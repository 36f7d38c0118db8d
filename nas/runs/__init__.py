"""The folder of a run: settings, checkpoints, metrics, trackers."""
