"""External engines, and the links from Runs to what runs in them. Come here for Engine and RunOrchestration;
OrchestrationInstance, where outside truth enters, is in `instance`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from runlink.domain.entity import DomainEntity
from runlink.domain.events import InstanceLinked, InstanceUnlinked
from runlink.domain.values import KEEP, NOT_GIVEN, Keep, checked_id, checked_text, checked_time, moment_of, utc_now


@dataclass(kw_only=True, eq=False)
class Engine(DomainEntity):
    """One configured external system, such as the Jenkins at one URL.

    `product` and `product_version` are what the system says of itself, None until it has answered.
    """

    name: str
    type: str
    url: str | None = None
    product: str | None = None
    product_version: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.name = checked_text(self.name, "name")
        self.type = checked_text(self.type, "type")

    def update_details(
        self,
        *,
        name: str | Keep = KEEP,
        url: str | Keep | None = KEEP,
        product: str | Keep | None = KEEP,
        product_version: str | Keep | None = KEEP,
        at: datetime | None = None,
        by: str | None = None,
    ) -> bool:
        """Replace what is given, as one change; False when nothing differs. The type never changes."""
        moment = moment_of(at)
        told = {
            "name": name if name is KEEP else checked_text(name, "name"),
            "url": url,
            "product": product,
            "product_version": product_version,
        }
        news = {field: value for field, value in told.items() if value is not KEEP and value != getattr(self, field)}
        for field, value in news.items():
            setattr(self, field, value)
        if news:
            self._changed(moment, by)
        return bool(news)


@dataclass(kw_only=True, eq=False)
class RunOrchestration(DomainEntity):
    """The link of one Run to one instance; while active, the instance counts for the Run.

    `attach` makes a new one. Detached it keeps its row, and `restore` links the same two again.
    `rule` names what made the link, None for a hand, and `key` is the value by which the rule found the Run. A link
    that is `pinned` was made or taken off by hand: no rule changes it any more.
    """

    run_id: UUID
    orchestration_instance_id: UUID
    attached_at: datetime = NOT_GIVEN
    rule: str | None = None
    key: str | None = None
    pinned: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_id(self.run_id, "run_id")
        checked_id(self.orchestration_instance_id, "orchestration_instance_id")
        self.attached_at = utc_now() if self.attached_at is NOT_GIVEN else checked_time(self.attached_at, "attached_at")

    @classmethod
    def attach(
        cls,
        *,
        run_id: UUID,
        orchestration_instance_id: UUID,
        rule: str | None = None,
        key: str | None = None,
        pinned: bool = False,
        at: datetime | None = None,
        by: str | None = None,
    ) -> Self:
        """A new link, with its InstanceLinked."""
        moment = moment_of(at)
        link = cls(
            run_id=run_id,
            orchestration_instance_id=orchestration_instance_id,
            attached_at=moment,
            rule=rule,
            key=key,
            pinned=pinned,
            created_at=moment,
            created_by=by,
            updated_by=by,
        )
        link._record(InstanceLinked(**link._facts(moment)))
        return link

    def detach(self, at: datetime | None = None, by: str | None = None) -> bool:
        """End the link; the same as `deactivate`. False when it is ended already."""
        return self.deactivate(at, by)

    def attach_again(
        self, rule: str | None, key: str | None, at: datetime | None = None, by: str | None = None
    ) -> bool:
        """Link the same two again, as this rule says now. False when they are linked."""
        if self.is_active:
            return False
        self.rule, self.key = rule, key
        return self.restore(at, by)

    def restate(self, rule: str | None, key: str | None, at: datetime | None = None, by: str | None = None) -> bool:
        """Name what makes the link now, where that has another name than before. False when nothing differs."""
        if (self.rule, self.key) == (rule, key):
            return False
        self.rule, self.key = rule, key
        self._changed(moment_of(at), by)
        return True

    def pin(self, *, linked: bool, pinned: bool = True, at: datetime | None = None, by: str | None = None) -> bool:
        """Link or take off by hand, so that no rule changes it; with `pinned` False the rules may from now on. False
        when it is so already."""
        changed = self.pinned is not pinned or self.is_active is not linked
        self.pinned = pinned
        if linked and not self.is_active:
            self.rule = self.key = None
        if changed and not self._set_active(linked, moment_of(at), by):
            self._changed(moment_of(at), by)
        return changed

    def _set_active(self, active: bool, moment: datetime, by: str | None) -> bool:
        if not super()._set_active(active, moment, by):
            return False
        if active:
            self.attached_at = moment
        self._record((InstanceLinked if active else InstanceUnlinked)(**self._facts(moment)))
        return True

    def _facts(self, moment: datetime) -> dict[str, Any]:
        return {
            "occurred_at": moment,
            "run_orchestration_id": self.id,
            "run_id": self.run_id,
            "orchestration_instance_id": self.orchestration_instance_id,
            "rule": self.rule,
        }
