"""Authentication: bearer tokens, and the keys that sign them."""
