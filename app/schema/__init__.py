"""The vocabulary of the API: types, inputs, payloads, connections and user errors, made from models."""

from app.schema import enumeration

__all__ = ["enumeration"]
