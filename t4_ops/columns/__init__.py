"""Manifests as tables: Arrow, pandas, Parquet. The libraries are loaded when they are needed."""

from t4_ops.columns.tables import COLUMNS, arrow_table, data_frame, write_parquet

__all__ = ["COLUMNS", "arrow_table", "data_frame", "write_parquet"]
