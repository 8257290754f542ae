"""What a caller expects `latest` to hold, where he does not name a top hash."""

from __future__ import annotations

from typing import Final


class Now:
    """The type of `NOW`."""

    def __reduce__(self) -> str:
        """Be the same one in every process: runners send a call's arguments to others."""
        return "NOW"


NOW: Final = Now()
"""As `expected`: what `latest` holds when the call begins."""
