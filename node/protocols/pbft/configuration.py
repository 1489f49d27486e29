"""What all replicas and clients of one cluster share: its size, its times, its switches."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from node.quorums import oral_generals_min


class Authentication(StrEnum):
    """How a client proves that a request is his."""

    #: An authenticator: a MAC for each replica (2002, section 3). A retransmission is signed.
    MACS = "macs"
    #: One Ed25519 signature a request, which may hold many operations.
    SIGNATURES = "signatures"


#: Four replicas are the fewest that survive one traitor.
REPLICAS_MIN: Final = oral_generals_min(1)
REPLICAS_MAX: Final = 64


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """`window` is L, `interval` the distance of checkpoints K; the paper takes L = 2K.

    `timeout_s`: how long a backup waits for a request that it knows before it moves the view;
    doubled for each view that fails. `status_s`: how often who lacks something says so. `commit_s`:
    how long a commit may wait for another message to travel with.
    `clock_skew_s`: how far the time that a primary proposes may be from a backup's own.
    """

    n: int
    authentication: Authentication = Authentication.MACS
    is_durable: bool = True
    has_batching: bool = True
    has_digest_replies: bool = True
    has_tentative_execution: bool = True
    has_piggybacked_commits: bool = True
    has_read_only: bool = True
    batch_requests_max: int = 128
    batch_bytes_max: int = 1 << 18
    pipeline: int = 4
    interval: int = 128
    window: int = 256
    timeout_s: float = 1.0
    status_s: float = 0.1
    commit_s: float = 0.01
    clock_skew_s: float = 10.0

    def __post_init__(self) -> None:
        if not REPLICAS_MIN <= self.n <= REPLICAS_MAX:
            raise ValueError(
                f"a cluster has {REPLICAS_MIN} to {REPLICAS_MAX} replicas, not {self.n}: "
                "n >= 3f + 1 survives f traitors, and three replicas survive none"
            )
        if not 0 < self.interval <= self.window:
            raise ValueError("a window holds at least one checkpoint")
        if min(self.pipeline, self.batch_requests_max, self.batch_bytes_max) < 1:
            raise ValueError("a batch holds a request at least, and one batch is under way")
        if self.commit_s > self.timeout_s / 2:
            raise ValueError("a commit waits for half of the timeout at most: else views change")
        if not (self.timeout_s > 0 and self.status_s > 0):
            raise ValueError("a timeout is longer than nothing")

    @property
    def has_early_answers(self) -> bool:
        """Whether clients are answered, and the next batch proposed, before commits are said, so
        that these may wait."""
        is_on = self.has_tentative_execution and self.has_piggybacked_commits
        return is_on and self.pipeline > 1

    @property
    def f(self) -> int:
        """How many traitors n replicas survive: the most that leave n >= 3f + 1."""
        return (self.n - 1) // 3

    @property
    def quorum(self) -> int:
        """Any two quorums have a correct replica in common: more than (n + f) / 2 replicas, which
        is 2f + 1 of n = 3f + 1 (1999, section 4.2)."""
        return (self.n + self.f) // 2 + 1

    @property
    def weak(self) -> int:
        """So many hold a correct replica: f + 1."""
        return self.f + 1

    def primary(self, view: int) -> int:
        return view % self.n

    def sender(self, timestamp: int) -> int:
        """Who sends a request's results in full, where the others send a digest."""
        return timestamp % self.n
