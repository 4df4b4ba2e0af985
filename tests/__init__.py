"""Parley's tests."""

import pytest

# conftest.py imports it before it names it as a plugin, and pytest wants to be told first.
pytest.register_assert_rewrite("tests.support.postgres")
