"""Compiled execution: one Python function is generated for each operation, and turns resolved values into the response.

It is optimistic. Whatever is unusual (null where it may not be, a value that does not serialise, an exception) is left
to graphql-core, which executes the operation with what resolvers had answered by then, so that none runs twice.
Errors, their paths and where nulls end up are therefore graphql-core's own. The room knows nothing of Parley.

``executor``: the entry, an execution context class for a Strawberry schema. ``operation``: operations that were
validated before, ready to execute. ``plan``: what is generated for one. ``generator``, ``body``, ``leaf``,
``arguments``: how. ``shape``: how a source other than an instance of a Strawberry type is read. ``cache``: caches
bounded by bytes.
"""
