"""Declares, once for each type, how the columns of conversations and events become GraphQL fields."""
