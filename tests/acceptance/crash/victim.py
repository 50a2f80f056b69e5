"""A process that forks daemons and tells how they died. `test_kill` talks to it, a line of JSON each way.

Each order is forked from here, where everything is imported already, and runs the real Runlink and Daemon until it
kills itself or is told to stop by SIGTERM.

    {"store", "engine", "events", "kill": {"at": "execute" | "before commit" | "after commit" | "time", "after": n}}
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import logging
import os
import signal
import sys
import threading
from typing import Any

import sqlalchemy as sa
from tests.engines.scripted import ScriptedPlugin

from runlink.application.policy import Policy
from runlink.application.settings import EngineSettings, LinkRule, Settings
from runlink.bootstrap import Runlink, open_settings_store, utc_now
from runlink.daemon import Daemon
from runlink.hosting import PluginHost

LINKS = (
    LinkRule(
        name="main",
        workflow="main",
        automation="Main",
        run_key="parameters.RUN_ID",
        create_run=True,
    ),
    LinkRule(name="quiet", workflow="quiet", automation="Quiet", run_key="parameters.RUN_ID", create_run=True),
    LinkRule(name="children", inherit="parent"),
)
POLICIES = {"Main": Policy(expected=("main",)), "Quiet": Policy(quiet_s=0.0)}


def die_with_parent() -> None:
    """So that a test that breaks off leaves no daemon behind (Linux: PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def die(log: str, why: str) -> None:
    with open(log, "a") as file:  # noqa: PTH123 - the last thing this process does
        file.write(f"{os.getpid()} dies: {why}\n")
    os.kill(os.getpid(), signal.SIGKILL)


def arm(kill: dict[str, Any], log: str) -> None:
    """Has this process kill itself."""
    left = [kill["after"]]
    lock = threading.Lock()

    def count(*_args: Any, **_kwargs: Any) -> None:
        with lock:
            left[0] -= 1
            if left[0] == 0:
                die(log, kill["at"])

    events = {"execute": "before_cursor_execute", "before commit": "commit", "after commit": "checkin"}
    if kill["at"] == "time":
        timer = threading.Timer(kill["after"] / 1000, die, (log, kill["at"]))
        timer.daemon = True
        timer.start()
    elif kill["at"] == "after commit":
        sa.event.listen(sa.pool.Pool, events[kill["at"]], count)  # a connection comes back when its work is committed
    else:
        sa.event.listen(sa.Engine, events[kill["at"]], count)
    fallback = threading.Timer(kill["latest_s"], die, (log, "too late"))
    fallback.daemon = True
    fallback.start()


def serve(order: dict[str, Any]) -> None:
    """Runs the daemon until SIGTERM."""
    logging.basicConfig(
        filename=order["log"], level=logging.INFO, format="%(process)d %(asctime)s %(name)s %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    faulthandler.enable(open(order["log"], "a"))  # noqa: SIM115, PTH123 - for as long as the process lives
    if order.get("kill"):
        arm(order["kill"], order["log"])
    engine = EngineSettings(
        name="scripted",
        type="scripted",
        url=order["engine"],
        poll_interval_s=0.02,
        max_requests_per_minute=100_000,
    )
    settings = Settings(store_url=order["store"], engines={"scripted": engine}, links=LINKS, automations=POLICIES)
    plugin = ScriptedPlugin(order["events"])
    plugins = PluginHost.load(extra=[("scripted", plugin)], environ={"RUNLINK_DISABLE_PLUGIN_AUTOLOAD": "1"})
    runlink = Runlink(settings, plugins, open_settings_store(settings), utc_now)
    with runlink.lease() as fence:
        registered = runlink.register()
        feeds, relay = runlink.feeds(registered, fence), runlink.relay(fence)
        every_s = {"relay": 0.02, "quiet": 0.02, "fence": 0.1, "health": 0.1, "pruning": 1.0}
        daemon = Daemon(
            runlink.store, settings, registered.rules, feeds, relay, now=utc_now, fence=fence, every_s=every_s
        )
        signal.signal(signal.SIGTERM, lambda *_: daemon.stop())
        daemon.run()
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
                logging.exception("the daemon ended")
            finally:
                logging.shutdown()
                os._exit(code)
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"ended": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
