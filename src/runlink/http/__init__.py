"""The server: REST API, live stream, login, health and metrics. Bootstrap comes here.

The only asynchronous room. Everything that touches the store is handed to it on threads, a bounded number at a time.
"""

from runlink.http.app import create_app
from runlink.http.server import HttpServer, ServerRefused
from runlink.http.service import Service

__all__ = ["HttpServer", "ServerRefused", "Service", "create_app"]
