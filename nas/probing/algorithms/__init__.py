"""Search algorithms judged on a benchmark, whose networks are looked up instead of trained."""
