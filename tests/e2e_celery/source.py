"""What the machines build packages from: the same bytes wherever it is written."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

FILES: Final = 40
_MOST_BYTES: Final = 64 * 1024


def write(folder: str | Path) -> str:
    """Write some files of random size and content, always the same, and return their folder."""
    chance = random.Random("t4")
    for number in range(FILES):
        path = Path(folder, f"part-{number % 4}", f"{number}.bin")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(_MOST_BYTES)))
    return str(folder)
