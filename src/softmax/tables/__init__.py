"""A file or frame into X, y and back: read, encode, standardise; it remembers how, for prediction."""

from ._encoder import Encoded, TableEncoder, complete_rows
from ._features import FeaturePlan, plan_features
from ._labels import MISSING, UNKNOWN, Labels, unknown_message
from ._read import DEFAULT_NA, as_table, read_table
from ._split import stratified_split
from ._table import Table, counted, listing, plural
from ._write import check_writable, output_format, write_table

__all__ = [
    "DEFAULT_NA",
    "MISSING",
    "UNKNOWN",
    "Encoded",
    "FeaturePlan",
    "Labels",
    "Table",
    "TableEncoder",
    "as_table",
    "check_writable",
    "complete_rows",
    "counted",
    "listing",
    "output_format",
    "plan_features",
    "plural",
    "read_table",
    "stratified_split",
    "unknown_message",
    "write_table",
]
