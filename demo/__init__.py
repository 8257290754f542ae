"""The demonstration: one pipeline on Airflow and on Prefect, on a folder or on a real S3 server."""
