"""What plugin authors test with: an adapter in its real surroundings, and an engine that replays recorded answers.

with runlink.testing.serve_exchanges(exchanges) as engine:
    adapter = runlink.testing.build(AcmeAdapter, engine.url, config={"token": "t"})
    pages = list(adapter.poll({}))
    assert runlink.testing.requests_made(adapter) == 1
"""

from runlink.testing.adapters import build, close, requests_made
from runlink.testing.engine import ReceivedRequest, RecordedEngine, serve_exchanges

__all__ = ["ReceivedRequest", "RecordedEngine", "build", "close", "requests_made", "serve_exchanges"]
