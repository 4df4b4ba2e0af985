"""Search for conversations: filtered and sorted keyset pages, with an n-gram index for text in titles."""
