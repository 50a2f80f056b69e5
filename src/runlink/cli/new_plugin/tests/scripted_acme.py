"""How Acme answers: the author's translation of a scripted engine's life into HTTP."""

from datetime import datetime, timedelta, timezone
from typing import Any

from runlink_acme.translate import STATUS

from runlink.testing import Request, ScriptedEngine, ScriptedRun

PAGE = 100
ZONE = timezone(timedelta(hours=2))


class AcmeEngine(ScriptedEngine):
    statuses = STATUS
    lacks = {"steps": "Acme shows no parts of a run"}

    def external_id(self, run: ScriptedRun) -> str:
        return f"{run.epoch}-{run.number}"

    def answer(self, request: Request) -> Any:
        match request.parts:
            case ["api", "version"]:
                return {"version": "3.1"}
            case ["api", "runs"]:
                return self._changed_after(request.query["after"], datetime.fromisoformat(request.query["since"]))
            case ["api", "runs", run_id]:
                run = self.find(run_id)
                return 404 if run is None else self.row(run)
        return 404

    def _changed_after(self, place: str, since: datetime) -> Any:
        epoch, _, change = (f"{self.epoch}-0" if place == "start" else place).partition("-")
        if epoch != str(self.epoch) or not change.isdigit():
            return 410  # of another installation, or no place at all
        runs = [run for run in self.runs if run.change > int(change) and (run.finished_at or self.now) >= since]
        runs.sort(key=lambda run: run.change)
        place = f"{epoch}-{runs[:PAGE][-1].change if runs else change}"
        return {"runs": [self.row(run) for run in runs[:PAGE]], "next": place, "more": len(runs) > PAGE}

    def row(self, run: ScriptedRun) -> dict[str, Any]:
        return {
            "id": self.external_id(run),
            "job": run.workflow,
            "state": run.native,
            "try": run.attempt,
            "created": _text(run.created_at),
            "started": _text(run.started_at),
            "ended": _text(run.finished_at),
            "parent": self.external_id(run.parent) if run.parent else None,
            "parameters": run.parameters,
            "message": run.message,
        }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(ZONE).isoformat()
