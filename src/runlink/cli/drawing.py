"""A Run and an instance drawn as a tree: with colours on a terminal, and readable line by line without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.text import Text
from rich.tree import Tree

from runlink.cli.output import clean, shown, style_of, took, when

Facts = Mapping[str, Any]


def draw_run(told: Facts) -> Tree:
    """The explanation of a Run, as `runlink.application.explaining.explain` gives it."""
    tree = Tree(_line("Run ", _bold(told["id"]), "  ", _bold(told["automation"])))
    if told["as_of"] is not None:
        tree.add(_line("as it was known at ", when(told["as_of"])))
    tree.add(_line(_status(told), _tries(told), _key(told)))
    tree.add(_line("created ", when(told["created_at"]), _times(told)))
    for title, text in (("why", told["error_summary"]), ("cancelled because", told["cancellation_reason"])):
        if text:
            tree.add(_line(f"{title}: ", Text(clean(str(text)), style="bold red")))
    if told["silent_since"]:
        tree.add(_line("silent: nothing was learnt of it since ", when(told["silent_since"])))
    if told["waiting"]:
        tree.add(_line("waiting: ", told["waiting"]))
    tree.add(_line("completes when ", _policy(told["policy"])))
    _branch(tree, "statuses", (_change(one) for one in told["statuses"]))
    _branch(
        tree, "items", (_line(shown(one["count"]), " ", one["status"], " in ", one["batch"]) for one in told["items"])
    )
    instances = tree.add(_line(_bold(f"instances ({len(told['instances'])})")))
    for row in told["instances"]:
        instances.add(draw_instance(row))
    if not told["instances"]:
        instances.add("none is linked yet")
    _branch(tree, "events", (_event(event) for event in told["events"]))
    _branch(tree, "not known", (Text(clean(doubt)) for doubt in told["doubts"]))
    return tree


def draw_instance(row: Facts) -> Tree:
    """One instance with whatever of attempts, steps, links and observations it carries."""
    name = row["workflow"] or "(workflow not known)"
    gone = Text("  vanished " + when(row["vanished_at"]), style="bold red") if row.get("vanished_at") else ""
    tree = Tree(_line(_status(row), gone, "  ", _bold(name), "  ", row["engine"], " ", row["external_id"], _times(row)))
    if row.get("message"):
        tree.add(_line("message: ", Text(clean(str(row["message"])), style=style_of(row["status"]))))
    if row.get("url"):
        tree.add(_line(row["url"]))
    tree.add(_line("id ", row["id"], f"  attempt {row['attempt']}", _started_by(row)))
    if row.get("parameters"):
        tree.add(_line("parameters: ", shown(row["parameters"])))
    if link := row.get("link"):
        tree.add(_line("linked ", when(link["attached_at"]), " by ", _maker(link)))
    _branch(tree, "links", (_link(one) for one in row.get("links", ())))
    attempts = row.get("attempts", ())
    if len(attempts) > 1:
        _branch(tree, "attempts", (_attempt(attempt) for attempt in attempts))
    _branch(tree, "steps", (_step(step) for step in row.get("steps", ())))
    _branch(tree, "observed", (_observation(seen) for seen in row.get("observations", ())))
    return tree


def _branch(tree: Tree, title: str, lines: Iterable[Text]) -> None:
    branch: Tree | None = None
    for line in lines:
        branch = branch or tree.add(_line(_bold(title)))
        branch.add(line)


def _line(*parts: object) -> Text:
    line = Text()
    for part in parts:
        line.append(part if isinstance(part, Text) else clean(shown(part)))
    return line


def _bold(value: object) -> Text:
    return Text(clean(shown(value)), style="bold")


def _status(row: Facts) -> Text:
    text = Text(row["status"], style=style_of(row["status"]))
    native = row.get("native_status")
    if native and native != row["status"]:
        text.append(f" ({clean(native)})", style="dim")
    return text


def _tries(row: Facts) -> str:
    return f"  attempt {row['attempt']}" if row["attempt"] > 1 else ""


def _key(told: Facts) -> str:
    return f"  key {told['correlation_id']}" if told["correlation_id"] else ""


def _times(row: Facts) -> str:
    started, finished = row.get("started_at"), row.get("finished_at")
    if finished is not None:
        lasted = f" ({took((finished - started).total_seconds())})" if started is not None else ""
        return f"  {when(started) or '?'} → {when(finished)}{lasted}"
    return f"  since {when(started)}" if started is not None else ""


def _policy(policy: Facts) -> str:
    if policy["complete"] == "by-hand":
        return "somebody says so"
    if policy["expected"]:
        return f"each of {', '.join(policy['expected'])} has completed"
    return f"every linked instance has ended and {took(policy['quiet_s'])} have passed"


def _change(change: Facts) -> Text:
    """A status of the Run: when it came about, when that was learnt and how, and from what it was concluded."""
    text = Text(f"{when(change['occurred_at'])}  ")
    text.append(_status(change))
    text.append(_tries(change))
    because = change["because"]
    if because is None:
        return text.append(clean(f"  by {change['actor'] or 'hand'}{_why(change)}"))
    told = (
        f"{because['engine']} {because['workflow']} {because['external_id']} {because['native_status'] or ''}".rstrip()
    )
    learnt = f"; learnt {when(because['recorded_at'])} by {because['feed']}" if because["feed"] else ""
    return text.append(clean(f"  because of {told}{learnt}"))


def _why(change: Facts) -> str:
    return f": {change['reason']}" if change["reason"] else ""


def _started_by(row: Facts) -> str:
    return f"  started by {row['parent_external_id']}" if row.get("parent_external_id") else ""


def _maker(link: Facts) -> str:
    if not link["rule"]:
        return f"{link['created_by'] or 'hand'}"
    return f"rule {link['rule']!r}" + (f", which found {link['key']!r}" if link["key"] else "")


def _link(link: Facts) -> Text:
    off = "" if link["is_active"] else "  (taken off)"
    return _line("run ", link["run_id"], "  ", when(link["attached_at"]), " by ", _maker(link), off)


def _attempt(attempt: Facts) -> Text:
    return _line(f"{attempt['number']}  ", _status(attempt), _times(attempt), _message(attempt))


def _step(step: Facts) -> Text:
    again = f"  attempt {step['attempt']}" if step["attempt"] > 1 else ""
    return _line(_status(step), "  ", step["name"], again, _times(step), _message(step))


def _observation(seen: Facts) -> Text:
    changes = seen["changes"]
    told = f"  {', '.join(changes)}" if isinstance(changes, Mapping) and changes else ""
    told = "  first seen" if isinstance(changes, Mapping) and "external_id" in changes else told
    attempt = f"  attempt {seen['attempt']}" if seen["attempt"] > 1 else ""
    return _line(when(seen["recorded_at"]), f"  {seen['feed']}  ", _status(seen), attempt, told)


def _event(event: Facts) -> Text:
    data = event["data"] if isinstance(event["data"], Mapping) else {}
    told = [
        str(data[name]) for name in ("error_summary", "cancellation_reason", "external_id", "rule") if data.get(name)
    ]
    return _line(when(event["occurred_at"]), f"  {event['type']}", f"  {'; '.join(told)}" if told else "")


def _message(row: Facts) -> str:
    return f"  {row['message']}" if row.get("message") else ""
