"""Parley's tests. Failed assertions of shared modules show their values too."""

import pytest

pytest.register_assert_rewrite("tests")
