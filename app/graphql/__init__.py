"""The executable schema: its root types, limits on documents and execution time, and the masking of errors."""
