"""A plan in words: each piece of work with its state, for ``--dry-run``."""

from __future__ import annotations

from collections.abc import Iterator

from fusionkit.engine.embeddings import EmbeddingStore, shard_count
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import Plan


def plan_lines(plan: Plan, folder: RunFolder, store: EmbeddingStore) -> Iterator[str]:
    """A line for each embedding, head and cell that will be made, and counts of what stands ready."""
    yield f"run folder {folder.path}; data: {'; '.join(plan.data)}"
    yield from _embedding_lines(plan, store)
    yield from _head_lines(plan, folder)
    cells = {family.cell_id(head) for family in plan.families for head in family.heads}
    ready = sum(folder.read_cell(cell) is not None for cell in cells)
    yield f"score: {len(cells) - ready} of {len(cells)} cells to smooth and score, in {len(plan.families)} rows"
    yield from (f"warning: {note}" for note in plan.notes)


def _embedding_lines(plan: Plan, store: EmbeddingStore) -> Iterator[str]:
    wanted = {
        embedding.key: (embedding, head.trial.source)
        for head in plan.heads.values()
        for embedding in head.embeddings.values()
    }
    for key, (embedding, source) in wanted.items():
        rows = len(source.table)
        missing = len(store.missing(key, rows, verify=False))
        state = "done" if not missing else f"to do: {missing} of {shard_count(rows)} shards missing"
        yield f"embed {embedding}, {rows} frames of {source.spec}: {state}"


def _head_lines(plan: Plan, folder: RunFolder) -> Iterator[str]:
    ready = 0
    for head in plan.heads.values():
        if folder.has_head(head.id):
            ready += 1
        else:
            failed = folder.failure(head.id)
            yield f"fit {head.name}: " + (f"failed before: {failed}" if failed else "to do")
    yield f"fit: {len(plan.heads) - ready} of {len(plan.heads)} heads to train"
