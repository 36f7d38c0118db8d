"""What operations cost: measured latency tables, analytic ones, and how to find them."""

from nas.cost.latency_table import Entry, LatencyTable, ProtocolInfo, RuntimeInfo, read_table, save_table
from nas.cost.lookup import CostTable, MacsTable, find_table, known_tables, load_table, resolve_table, table_folders

__all__ = [
    "CostTable",
    "Entry",
    "LatencyTable",
    "MacsTable",
    "ProtocolInfo",
    "RuntimeInfo",
    "find_table",
    "known_tables",
    "load_table",
    "read_table",
    "resolve_table",
    "save_table",
    "table_folders",
]
