"""Compiled execution: for each operation, a Python function is generated that turns resolved values into the response.

The generated code is optimistic: it handles the usual values only. For anything else (null in a non-null field, a value
that does not serialise, an exception) graphql-core executes the operation as a fallback. It is given the results of
the resolvers that ran already, so that none runs twice. Errors, their paths and null propagation are therefore always
graphql-core's own. The package depends on Strawberry and graphql-core only, not on the rest of the application.

``executor`` is the entry: an execution context class for a Strawberry schema. ``operation`` holds validated operations,
ready to execute; ``plan`` the functions generated for one. ``generator``, ``body``, ``leaf`` and ``arguments`` generate
code. ``shape`` declares how to read a source that is not an instance of a Strawberry type, such as a row. ``cache`` is
an LRU cache bounded by bytes.
"""
