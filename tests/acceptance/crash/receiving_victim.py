"""A process that forks servers which take deliveries in, and tells how they died. `test_kill_receiving` talks to it.

{"store", "port", "log", "kill": {"at": "execute" | "before commit" | "after commit" | "time", "after": n}}
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
from typing import Any, ClassVar

import uvicorn
from starlette.applications import Starlette
from tests.acceptance.crash.victim import arm, die_with_parent

from runlink.application.settings import EngineSettings, Secret, Settings, WebhookSettings
from runlink.bootstrap import Runlink, open_settings_store, utc_now
from runlink.daemon import Daemon
from runlink.hosting import PluginHost
from runlink.http.hooks import Hooks
from runlink.spi import Delivery, EngineInfo, ExecutionStatus, Observation, Receipt, Receives, hookimpl

ENGINE = EngineSettings(
    name="pushed",
    type="pushed",
    poll_interval_s=0.1,
    webhook=WebhookSettings(secrets=(Secret(env="HOOK_TOKEN"),), authentication="bearer"),
)


class Pushed(Receives):
    """Each delivery is a run that has ended."""

    name = "pushed"
    config_schema: ClassVar = {"type": "object"}
    authentication = "bearer"

    def check(self) -> EngineInfo:
        return EngineInfo(product="Pushed", version="1")

    def receive(self, delivery: Delivery) -> Receipt:
        run = json.loads(delivery.body)
        status = ExecutionStatus(run["status"])
        return Receipt(
            observations=(
                Observation(external_id=run["id"], workflow="main", status=status, native_status=run["status"]),
            )
        )


class Plugin:
    """Brings the adapter."""

    @hookimpl
    def runlink_adapters(self) -> list[type]:
        return [Pushed]


def serve(order: dict[str, Any]) -> None:
    """Takes deliveries and works them off until SIGTERM."""
    logging.basicConfig(filename=order["log"], level=logging.INFO, format="%(process)d %(name)s %(message)s")
    os.environ["HOOK_TOKEN"] = "token"
    settings = Settings(store_url=order["store"], engines={"pushed": ENGINE})
    plugins = PluginHost.load(extra=[("pushed", Plugin())], environ={"RUNLINK_DISABLE_PLUGIN_AUTOLOAD": "1"})
    runlink = Runlink(settings, plugins, open_settings_store(settings), utc_now)
    with runlink.lease() as fence:
        registered = runlink.register()
        doors = runlink.doors(registered)
        feeds, relay = runlink.feeds(registered, fence), runlink.relay(fence)
        every_s = {"relay": 0.1, "quiet": 0.1, "health": 0.1}
        daemon = Daemon(
            runlink.store, settings, registered.rules, feeds, relay, now=utc_now, fence=fence, every_s=every_s
        )
        hooks = Hooks(runlink.store, lambda: doors, now=utc_now, stored=daemon.deliver_now)
        listening = socket.create_server(("127.0.0.1", order["port"]))
        config = uvicorn.Config(Starlette(routes=hooks.routes()), log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True)

        def stop(*_: Any) -> None:
            server.should_exit = True
            daemon.stop()

        signal.signal(signal.SIGTERM, stop)
        thread.start()
        if order.get("kill"):
            arm(order["kill"], order["log"])
        daemon.run()
        thread.join(5)
    runlink.close()


def main() -> None:
    die_with_parent()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            die_with_parent()
            try:
                serve(json.loads(line))
                code = 0
            except BaseException:
                logging.exception("the server ended")
            finally:
                logging.shutdown()
                os._exit(code)
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"ended": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
