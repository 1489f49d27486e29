"""Fetching a checkpoint from others, page by page (1999, section 4.3; 2002, section 5.3.2).

The checkpoint's digest is known from f + 1 replicas. The manifest is verified against it, each page
against the manifest, so that it does not matter who sends them: a source that is silent or lies is
left for the next one, and what was fetched stays.
"""

from __future__ import annotations

from collections.abc import Iterable

from node.protocols.pbft.execution import snapshot_digest
from node.protocols.pbft.messages import (
    FetchManifest,
    FetchPage,
    Manifest,
    Message,
    Page,
    ReplicaId,
    Snapshot,
)
from node.protocols.pbft.service import page_digest

#: Pages that are asked for at a time.
PAGES_AT_ONCE = 8


class Transfer:
    """One checkpoint under way: `sources` are tried in turn, `held` are pages known already."""

    def __init__(
        self, sequence: int, digest: bytes, sources: tuple[ReplicaId, ...], held: Iterable[bytes]
    ) -> None:
        self.sequence = sequence
        self.digest = digest
        self._sources = sources
        self._turn = 0
        self._manifest: tuple[bytes, ...] | None = None
        self._pages = {page_digest(page): page for page in held}
        self._missing: list[bytes] = []
        self._asked: set[bytes] = set()
        self._has_progress = False

    @property
    def source(self) -> ReplicaId:
        return self._sources[self._turn % len(self._sources)]

    @property
    def pages(self) -> tuple[bytes, ...]:
        """All that was fetched, for another transfer that may have use for it."""
        return tuple(self._pages.values())

    def begin(self) -> list[Message]:
        """What to ask the source for now, anew."""
        if self._manifest is None:
            return [FetchManifest(self.sequence, self.digest)]
        self._asked.clear()
        return self._ask()

    def turn(self) -> list[Message]:
        """Time has passed: asks the next source, unless this one is at work."""
        if self._has_progress:
            self._has_progress = False
            return []
        self._turn += 1
        return self.begin()

    def hear_manifest(self, manifest: Manifest) -> list[Message] | None:
        """What to ask for next, or None where the manifest is not the one."""
        if self._manifest is not None or manifest.sequence != self.sequence:
            return []
        if snapshot_digest(self.sequence, manifest.pages) != self.digest:
            return None
        self._manifest = manifest.pages
        self._missing = [d for d in dict.fromkeys(manifest.pages) if d not in self._pages]
        self._has_progress = True
        return self._ask()

    def hear_page(self, page: Page) -> list[Message] | None:
        """What to ask for next, or None where nobody had asked for such a page."""
        digest = page_digest(page.data)
        if digest in self._pages:
            return []
        if self._manifest is None or digest not in self._asked:
            return None
        self._pages[digest] = page.data
        self._asked.discard(digest)
        self._missing.remove(digest)
        self._has_progress = True
        return self._ask()

    def snapshot(self) -> Snapshot | None:
        """The checkpoint, once all of it is there."""
        if self._manifest is None or self._missing:
            return None
        pages = tuple(self._pages[digest] for digest in self._manifest)
        return Snapshot(self.sequence, self.digest, pages, self._manifest)

    def _ask(self) -> list[Message]:
        room = PAGES_AT_ONCE - len(self._asked)
        wanted = [digest for digest in self._missing if digest not in self._asked][: max(0, room)]
        self._asked.update(wanted)
        return [FetchPage(self.sequence, digest) for digest in wanted]
