"""Authentication of callers by bearer tokens (JWT), and the sources of the keys that verify them."""
