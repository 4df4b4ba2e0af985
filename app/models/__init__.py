"""SQLModel tables, each beside its persistence repository.

A repository takes its session once; it may flush, it never commits. Reads name the owner in their SQL.
"""
