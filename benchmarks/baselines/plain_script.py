"""What one writes first: python-jenkins, a request per build, an ORM object and a commit per row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jenkins
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.databases import durable


class Base(DeclarativeBase):
    pass


class Build(Base):
    __tablename__ = "builds"
    job: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    result: Mapped[str | None]
    timestamp: Mapped[int]
    duration: Mapped[int]
    info: Mapped[dict[str, Any]] = mapped_column(sa.JSON)


def plain_script(url: str, database: Path, *, jobs: int) -> int:
    """The first so many jobs; returns how many builds were stored."""
    engine = sa.create_engine(f"sqlite:///{database}")
    sa.event.listen(engine, "connect", lambda connection, _: durable(connection))
    Base.metadata.create_all(engine)
    server = jenkins.Jenkins(url, timeout=30)
    stored = 0
    with Session(engine) as session:
        for job in server.get_jobs()[:jobs]:
            name = job["fullname"]
            for listed in server.get_job_info(name)["builds"]:
                info = server.get_build_info(name, listed["number"])
                build = session.get(Build, (name, info["number"])) or Build(job=name, number=info["number"])
                build.result, build.timestamp, build.duration = info["result"], info["timestamp"], info["duration"]
                build.info = info
                session.add(build)
                session.commit()
                stored += 1
    engine.dispose()
    return stored
