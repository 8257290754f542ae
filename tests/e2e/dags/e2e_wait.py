"""A sensor that waits in the triggerer, through a connection made by form."""

from airflow.sdk import DAG

from t4_ops.airflow.sensors import PackageSensor

with DAG("e2e_wait", schedule=None):
    PackageSensor(
        task_id="wait",
        name="e2e/wanted",
        t4_conn_id="by_form",
        deferrable=True,
        poke_interval=2,
        timeout=600,
    )
