"""Servers that Parley is measured against."""
