"""How files are read and written: whole or not at all, strictly, as plain data."""
