"""How the tests of the suite write down what they measured."""

import pytest


@pytest.fixture
def measured(record_property):
    """measured(name, value): a figure for the report of `--junitxml`."""
    # As text: the workers of xdist pass on plain types alone.
    return lambda name, value: record_property(name, str(value))
