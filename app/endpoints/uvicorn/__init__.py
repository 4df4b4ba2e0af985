"""uvicorn's own protocol classes, extended. They rest on its private parts: try them with each new release of it."""
