"""Encoding of responses as JSON."""

import json

import orjson


def encode(body: object) -> bytes:
    """Encode with orjson, and with ``json`` what orjson refuses: integers over 64 bits and lone surrogates."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return json.dumps(body).encode()
