"""A process that forks servers which take deliveries in, and tells how they died. `test_kill_receiving` talks to it.

{"store", "port", "log", "kill": {"at": "execute" | "before commit" | "after commit" | "time", "after": n}}
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from typing import Any, ClassVar

from tests.acceptance.crash.victim import arm, die_with_parent

from runlink.application.settings import EngineSettings, Secret, ServerSettings, Settings, WebhookSettings
from runlink.bootstrap import Runlink, open_settings_store, utc_now
from runlink.hosting import PluginHost
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
    server = ServerSettings(listen=f"127.0.0.1:{order['port']}")
    settings = Settings(store_url=order["store"], engines={"pushed": ENGINE}, server=server)
    plugins = PluginHost.load(extra=[("pushed", Plugin())], environ={"RUNLINK_DISABLE_PLUGIN_AUTOLOAD": "1"})
    runlink = Runlink(settings, plugins, open_settings_store(settings), utc_now)
    with runlink.lease() as fence:
        daemon = runlink.daemon(runlink.register(), fence, every_s={"relay": 0.1, "quiet": 0.1, "health": 0.1})
        listening = runlink.server(daemon)
        assert listening is not None

        def stop(*_: Any) -> None:
            listening.stop()
            daemon.stop()

        signal.signal(signal.SIGTERM, stop)
        if order.get("kill"):
            arm(order["kill"], order["log"])
        daemon.run()
        listening.join(5)
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
