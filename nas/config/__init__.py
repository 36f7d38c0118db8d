"""The settings of every verb, and the checks of their values."""
