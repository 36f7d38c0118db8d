"""Costs of operations: measured latency tables, analytic ones, and how to find them."""

from nas.cost.latency_table import LatencyTable, read_table, save_table
from nas.cost.lookup import (
    CostTable,
    MacsTable,
    find_table,
    hidden_by,
    in_words,
    known_tables,
    load_table,
    resolve_table,
    resolve_tables,
    table_folders,
)
from nas.cost.table_parts import Entry, Origin, ProtocolInfo, Reference, RuntimeInfo

__all__ = [
    "CostTable",
    "Entry",
    "LatencyTable",
    "MacsTable",
    "Origin",
    "ProtocolInfo",
    "Reference",
    "RuntimeInfo",
    "find_table",
    "hidden_by",
    "in_words",
    "known_tables",
    "load_table",
    "read_table",
    "resolve_table",
    "resolve_tables",
    "save_table",
    "table_folders",
]
