"""The schema as clients get it: its root types, the bounds on documents and time, and what is masked of errors."""
