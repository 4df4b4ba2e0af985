"""How rows of conversations and events are shown, declared once for each."""
