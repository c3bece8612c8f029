"""The exceptions and warnings of the library.

Every exception is a `SoftmaxError` and also the builtin that a caller would expect::

    SoftmaxError (Exception)
    ├── ArrayTypeError (TypeError)            not an array that softmax can be taken of
    ├── ArrayValueError (ValueError)          an array of the wrong shape or content
    ├── AxisError (ValueError, IndexError)    an axis that the array does not have
    ├── OptionError (ValueError)              an option outside its range, or two that exclude each other
    ├── TargetError (ValueError)              labels or target probabilities that do not fit the logits
    ├── DataError (ValueError)                a table that cannot be read or encoded
    ├── ModelFileError (ValueError)           a model file that is damaged, foreign or too new
    ├── NotesError (ValueError)               a note, a vault or its settings that cannot be used as asked
    └── MissingExtraError (ImportError)       an optional package that is not installed

    SoftmaxWarning (UserWarning)
    └── NotCertifiedWarning                   a fit stopped before its optimum was certified
"""

__all__ = [
    "ArrayTypeError",
    "ArrayValueError",
    "AxisError",
    "DataError",
    "MissingExtraError",
    "ModelFileError",
    "NotCertifiedWarning",
    "NotesError",
    "OptionError",
    "SoftmaxError",
    "SoftmaxWarning",
    "TargetError",
]


class SoftmaxError(Exception):
    """Base of every exception that the library raises on purpose."""


class ArrayTypeError(SoftmaxError, TypeError):
    """What came is not an array, or has a dtype that softmax is not defined for."""


class ArrayValueError(SoftmaxError, ValueError):
    """An array has the wrong shape, the wrong content, or cannot be written to."""


class AxisError(SoftmaxError, ValueError, IndexError):
    """An axis is out of range, given twice, or not an integer."""


class OptionError(SoftmaxError, ValueError):
    """An option has a value that it does not allow, or two options exclude each other."""


class TargetError(SoftmaxError, ValueError):
    """A target does not fit the logits: its shape, its dtype or a value in it."""


class DataError(SoftmaxError, ValueError):
    """A table cannot be read, or a column of it cannot be used as asked."""


class ModelFileError(SoftmaxError, ValueError):
    """A model file is damaged, was not written by this library, or is newer than it."""


class NotesError(SoftmaxError, ValueError):
    """A note, a vault or its settings cannot be read, or have changed since they were read."""


class MissingExtraError(SoftmaxError, ImportError):
    """An optional package is needed here and is not installed."""

    @classmethod
    def for_extra(cls, what: str, package: str, extra: str) -> "MissingExtraError":
        """Name what needs the package, and the line to type."""
        return cls(
            f"{what} needs {package}, which is not installed:\n\n    pip install 'softmax[{extra}]'\n", name=package
        )


class SoftmaxWarning(UserWarning):
    """Base of every warning that the library gives."""


class NotCertifiedWarning(SoftmaxWarning):
    """A fit stopped before the optimality of its result could be certified."""
