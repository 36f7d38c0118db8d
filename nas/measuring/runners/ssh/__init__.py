"""A place on another machine that is reached over SSH."""
