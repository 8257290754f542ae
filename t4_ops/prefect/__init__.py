"""Prefect: tasks whose arguments and results are revisions of data packages."""
