"""Steps taken in other processes: what `search plan=true` and `bench search` start and read."""
