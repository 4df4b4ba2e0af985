"""The lifecycle of conversations: the state machine, creation, titles, and the limit on how many run at once."""
