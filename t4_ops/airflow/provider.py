"""What Airflow's provider manager asks for: a dict, read in every Airflow process."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description.

    The version is not in it: Airflow takes that from the installed distribution.
    Keys: `airflow/provider_info.schema.json` of Airflow 3.3.
    """
    return {
        "package-name": "t4-ops",
        "name": "T4 data packages",
        "description": "Versioned, verified data packages (T4/Quilt format), with lineage.",
        "integrations": [{"integration-name": "T4 data packages", "tags": ["software"]}],
        "operators": [
            {
                "integration-name": "T4 data packages",
                "python-modules": ["t4_ops.airflow.operators"],
            }
        ],
    }
