"""Other servers for the same data, against which Parley is measured."""
