"""Attribution by other libraries, on the same models and the same truth as ours."""

from benchmarks.peers.measured import PeerResult, scores
from benchmarks.peers.ranked import best, rows

__all__ = ["PeerResult", "best", "rows", "scores"]
