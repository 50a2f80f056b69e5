"""Adapters in a process of their own: for dependencies that clash with others, or that nobody wants in the daemon.

`isolated` makes of an adapter class one that behaves the same and runs elsewhere; whoever hosts it sees no difference
but ProcessLost. It is no sandbox: the child runs as the same user. docs/explanation/isolation.md tells the design.
"""

from runlink.hosting.isolation.process import Limits, Process
from runlink.hosting.isolation.proxy import Isolated, IsolatedFault, isolated

__all__ = ["Isolated", "IsolatedFault", "Limits", "Process", "isolated"]
