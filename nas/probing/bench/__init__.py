"""Parts of `nas bench search`: cases, the processes that take steps, their rounds, spreads and targets."""
