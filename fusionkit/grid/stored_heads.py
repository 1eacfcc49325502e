"""The stored heads as one run looks at them: each is checked once, and its logits are read once for all its rows."""

from __future__ import annotations

from collections.abc import Collection

from fusionkit.grid.folder import RunFolder, StoredLogits


class StoredHeads:
    """Remembers which heads are sound, for as long as a run lasts; the next run checks every byte again.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._sound: set[str] = set()
        self._logits: dict[str, StoredLogits] = {}

    def has(self, head: str) -> bool:
        """Whether a head is stored whole and undamaged; one that was not is looked for again."""
        if head not in self._sound and self.folder.has_head(head):
            self._sound.add(head)
        return head in self._sound

    def logits(self, head: str) -> StoredLogits:
        """The logits of a head: every smoother, and every candidate of a choice, looks at them.

        Raises:
            DataError: if they are missing or damaged.
        """
        if head not in self._logits:
            self._logits[head] = self.folder.read_logits(head)
        return self._logits[head]

    def keep_only(self, heads: Collection[str]) -> None:
        """Forget the logits of all others: those of a large grid do not fit into memory."""
        self._logits = {head: logits for head, logits in self._logits.items() if head in heads}
