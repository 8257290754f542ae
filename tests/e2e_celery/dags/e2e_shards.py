"""One build on as many machines as there are."""

from airflow.sdk import DAG

from t4_ops.airflow.operators import build_in_shards

with DAG("e2e_shards", schedule=None):
    build_in_shards(
        name="e2e/shards",
        source="s3://raw/many/",
        registry="s3://shared",
        max_shards=6,
        min_shard_bytes=1,
        message="shards",
    )
