"""Hand-made networks by name, described with the same operations as the search spaces: a space without decisions."""
