"""SQLModel tables, each beside its persistence repository.

A repository is given its session once; it may flush, but never commits. Reads for a caller filter by owner in SQL.
"""
