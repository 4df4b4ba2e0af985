"""Benchmarks of Parley against the raw limit and other servers. Each prints a table; none fails on a time."""
