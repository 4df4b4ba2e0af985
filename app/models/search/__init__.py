"""Filtered and sorted pages of conversations, by keysets and an index of n-grams of titles."""
