"""A pytest plugin that runs SciPy's tests of softmax, log_softmax and logsumexp against the functions of this package.

It may do no more than map the default axis, which SciPy has at None. What then differs is listed in `scipy_deviations`.
"""

import pytest
import scipy.special
from scipy._lib import _array_api
from scipy.special import _logsumexp
from scipy_deviations import DEVIATIONS, NOT_RUN

import softmax as sm


def softmax(x, axis=None):
    return sm.softmax(x, axis=axis)


def log_softmax(x, axis=None):
    return sm.log_softmax(x, axis=axis)


def logsumexp(a, axis=None, b=None, keepdims=False, return_sign=False):
    return sm.logsumexp(a, axis=axis, b=b, keepdims=keepdims, return_sign=return_sign)


for function in (softmax, log_softmax, logsumexp):
    theirs = getattr(scipy.special, function.__name__)
    # SciPy looks up there with which array libraries a function is tested.
    _array_api.xp_capabilities_table[function] = _array_api.xp_capabilities_table[theirs]
    for module in (scipy.special, _logsumexp):
        setattr(module, function.__name__, function)


def pytest_collection_modifyitems(config, items):
    left_out = []
    for item in items:
        name = item.nodeid.partition("::")[2]
        if name in DEVIATIONS:
            item.add_marker(pytest.mark.xfail(reason=DEVIATIONS[name], strict=True))
        if name in NOT_RUN:
            left_out.append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
