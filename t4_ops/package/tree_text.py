"""How a package prints."""

from __future__ import annotations

from collections import deque
from typing import Final

from t4_ops.package.contents import Contents

MAX_LINES: Final = 20
"""Most lines of a printed package. Source: quilt3."""


def tree_text(contents: Contents, prefix: str) -> str:
    """Return a package as a tree, level by level, cut at `MAX_LINES`.

    Upper levels come first, so that what is cut off is the deepest, and the cost does not grow with
    the package.
    """
    chosen: dict[str, list[str]] = {}
    waiting = deque([prefix])
    lines, is_cut = 0, False
    while waiting and not is_cut:
        folder = waiting.popleft()
        for name in contents.children(folder):
            if lines == MAX_LINES:
                is_cut = True
                break
            lines += 1
            chosen.setdefault(folder, []).append(name)
            if name.endswith("/"):
                waiting.append(folder + name)
    if not lines:
        return "(empty Package)"
    text = _branch(chosen, prefix, 0)
    return "(Package)\n" + text + (" ...\n" if is_cut else "")


def _branch(chosen: dict[str, list[str]], folder: str, level: int) -> str:
    text = ""
    for name in chosen.get(folder, ()):
        text += f" {'  ' * level}└─{name}\n"
        if name.endswith("/"):
            text += _branch(chosen, folder + name, level + 1)
    return text
