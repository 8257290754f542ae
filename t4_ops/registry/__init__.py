"""A registry: manifests by top hash, and the pointers that name them.

Layout (quilt3's version 1), below the root of a folder or bucket:

```
.quilt/packages/<top_hash>                             the manifest
.quilt/named_packages/<ns>/<name>/<unix seconds>       one pointer for each revision
.quilt/named_packages/<ns>/<name>/latest               the one that moves
.t4/v1/index/<top_hash>                                index of a large manifest; may be removed
```
"""

from t4_ops.keys import Limits
from t4_ops.registry.common import NAMED, rounds
from t4_ops.registry.manifests import Manifests
from t4_ops.registry.pointer import ANYTHING, Anything, Pointer, Published
from t4_ops.registry.pointers import Pointers
from t4_ops.storage import Store

__all__ = ["ANYTHING", "NAMED", "Anything", "Pointer", "Published", "Registry", "rounds"]


class Registry:
    """One store's manifests and pointers."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self.manifests = Manifests(store, limits)
        self.pointers = Pointers(store)

    @property
    def url(self) -> str:
        """The normalised registry URL."""
        return self.manifests.url
