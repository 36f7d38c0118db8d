"""What `nas bench` measures with: cases, the processes that take steps, their rounds, spreads and targets."""
