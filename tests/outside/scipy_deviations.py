"""Where SciPy's own tests ask for something else than this package does, test by test, with the reason.

Only these reasons are admitted: the default axis, integers, empty axes, the policy for infinities. Each of the tests
listed has to fail: one that passes stands here without need. (The default axis is mapped by the plugin. Integers that
wrap, empty axes and infinities are not asked for by the tests of SciPy 1.17, so that nothing stands here for them.)
"""

_WEIGHTS = "integers: integer weights b take the dtype of the logits, and do not widen them to float64"
_LOGITS = "integers: integer logits are computed as float64, whatever the default dtype of the library is"

DEVIATIONS = {
    f"TestLogSumExp::test_dtypes_ab[{library}-{b}-{a}]": _WEIGHTS
    for library in ("numpy", "array_api_strict")
    for b in ("int32", "int64")
    for a in ("float32", "complex64")
} | {
    f"TestLogSumExp::test_dtypes_ab[torch-{b}-{a}]": _LOGITS
    for b in ("float32", "complex64")
    for a in ("int32", "int64")
}

# Not asked of this package: float32 on a simulated device that has no float64, in which float32 is computed here.
NOT_RUN = tuple(f"TestLogSumExp::test_device[array_api_strict-{x}]" for x in ("1.0", "1j"))
