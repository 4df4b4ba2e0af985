"""The life of a conversation: its states and the moves between them, how it begins, and which ones run at once."""
