"""What is measured, how, and against whom. Every benchmark prints its table; none fails on a time."""
