"""Text that enters an event: bounded, and without credentials."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from t4_ops.errors import InvalidInputError

_HIDDEN: Final = "***"
# Repeats are bounded so that hostile text costs linear time.
_USERINFO: Final = re.compile(
    r"(?<=://)[^\s/?#:]{0,512}:[^\s/?#]{0,512}@|(?<=http://)[^\s/?#@]{1,512}@"
    r"|(?<=https://)[^\s/?#@]{1,512}@"
)
_SIGNED: Final = re.compile(
    r"([?&](?:X-Amz-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|Signature|sig)=)[^&\s]+",
    re.IGNORECASE,
)
_NAMED: Final = re.compile(
    r"((?:password|passwd|secret|token|api_?key|access_?key|authorization)[\w-]{0,40}[\"']?"
    r"\s{0,5}[=:]\s{0,5}(?:(?:bearer|basic|token)\s)?)(?:\"[^\"]*\"|'[^']*'|[^\s,;&]+)",
    re.IGNORECASE,
)
# Schemes differ (`Basic`, `Token`, `AWS4-HMAC-SHA256 ...`): all of the header is hidden.
_HEADER: Final = re.compile(
    r"(authorization[\"']?\s{0,5}:\s{0,5})(?:\"[^\"\r\n]*\"|'[^'\r\n]*'|[^\r\n]+)", re.IGNORECASE
)
# AWS's own prefixes of access key ids.
_KEY_ID: Final = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")
# A shorter secret is a made-up one, and hiding it would shred the text.
_MIN_SECRET_CHARS: Final = 4


def clean(text: str, max_chars: int, secrets: Iterable[str] = ()) -> str:
    """Return free text without credentials, valid as UTF-8 and cut to a length.

    Args:
        text: A message or the text of an error.
        max_chars: Characters to keep; a longer text ends in an ellipsis.
        secrets: Credentials in use, hidden wherever they occur.
    """
    # One may be a part of another: the longest first.
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= _MIN_SECRET_CHARS:
            text = text.replace(secret, _HIDDEN)
    text = _USERINFO.sub(f"{_HIDDEN}@", text)
    text = _SIGNED.sub(rf"\g<1>{_HIDDEN}", text)
    text = _HEADER.sub(rf"\g<1>{_HIDDEN}", text)
    text = _NAMED.sub(rf"\g<1>{_HIDDEN}", text)
    text = _KEY_ID.sub(_HIDDEN, text)
    text = text.encode("utf-8", errors="replace").decode()
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def required_text(value: object, what: str, max_bytes: int) -> str:
    """Return `value` if it is text that may name something in an event.

    Raises:
        InvalidInputError: It is no text, empty, too long, or a URL with a credential in it (which
            the message does not repeat).
    """
    if not isinstance(value, str) or not value:
        raise InvalidInputError(f"{what} must be text that is not empty, not {value!r}")
    # Folder names need not be UTF-8: Python carries their odd bytes as lone surrogates.
    size_bytes = len(value.encode("utf-8", errors="surrogatepass"))
    if size_bytes > max_bytes:
        raise InvalidInputError(f"{what} is {size_bytes} bytes long, more than {max_bytes}")
    if _USERINFO.search(value) or _SIGNED.search(value):
        raise InvalidInputError(f"{what} holds a credential: name the source without it")
    return value
