"""The transports of GraphQL: HTTP, server-sent events, multipart responses and WebSockets."""
