"""Imports what a server imports. The fork server of ``tests.support.forked`` does it once, before it forks."""

from importlib import import_module

from app.services.llm.library import load

for module in ("app.__main__", "app.endpoints.uvicorn.http", "app.endpoints.uvicorn.websocket", "app.main"):
    import_module(module)
load()
