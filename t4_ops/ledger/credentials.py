"""Which texts are credentials: they are hidden wherever an event would quote them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

from t4_ops.settings import Settings

# Names of environment variables whose values are credentials, as tools have them: MYSQL_PWD (but
# not the shell's PWD), GITHUB_PAT, AIRFLOW_CONN_* and AIRFLOW__*__SQL_ALCHEMY_CONN, SENTRY_DSN.
_SECRET_NAME: Final = re.compile(
    r"SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|FERNET|CONNECTION_?STRING"
    r"|(?:API|ACCESS|PRIVATE|SIGNING|ENCRYPTION)_?KEY|_(?:PASS|PWD|PAT|CONN|DSN)$|^AIRFLOW_CONN_",
    re.IGNORECASE,
)
# A shorter value (a number, a truth value) is no credential, and hiding it would shred the text.
_SECRET_MIN_CHARS: Final = 8


def secrets_of(settings: Settings) -> set[str]:
    """Return the credentials in settings."""
    known = [settings.s3, *(s3 for _, s3 in settings.registries)]
    values = {
        value
        for s3 in known
        for value in (s3.secret_access_key, s3.session_token, s3.access_key_id, s3.proxy_url)
    }
    return {value for value in values if value}


def secrets_in(environ: Mapping[str, str] = os.environ) -> set[str]:
    """Return the values of environment variables whose names say that they are secret.

    An error may quote what boto3 or a transport was given; no value is used for anything else.
    """
    # Another thread may remove a variable meanwhile.
    values = (environ.get(name, "") for name in list(environ) if _SECRET_NAME.search(name))
    return {value for value in values if len(value) >= _SECRET_MIN_CHARS}
