"""JSON, as it goes over the wire."""

import json

import orjson


def encode(body: object) -> bytes:
    """JSON. The standard library steps in for what orjson refuses: integers over 64 bits and halves of surrogates."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return json.dumps(body).encode()
