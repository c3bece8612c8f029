"""A retired keyword warns with its substitute and the version, and its value still arrives."""

from __future__ import annotations

import inspect

import pytest

from softmax._deprecate import deprecated_argument


@deprecated_argument("dim", use="axis", removed_in="2.0")
def function(x, /, *, axis=-1):
    """Return what came."""
    return x, axis


def test_the_old_name_warns_where_it_was_written():
    with pytest.warns(DeprecationWarning, match=r"function\(dim=\.\.\.\) will be removed in 2\.0; use axis=") as caught:
        assert function(1, dim=0) == (1, 0)
    assert caught[0].filename == __file__


def test_the_new_name_does_not_warn():
    assert function(1) == (1, -1)
    assert function(1, axis=0) == (1, 0)


def test_both_names_are_an_error():
    with pytest.raises(TypeError, match="got both 'axis' and its former name 'dim'"):
        function(1, dim=0, axis=0)


def test_the_signature_shows_only_the_new_name():
    assert str(inspect.signature(function)) == "(x, /, *, axis=-1)"
    assert function.__doc__ == "Return what came."
