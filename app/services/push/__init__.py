"""Wake-ups and messages from writers to subscribers, in one process or over PostgreSQL."""
