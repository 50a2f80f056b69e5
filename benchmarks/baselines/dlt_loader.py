"""A data loader: dlt's rest_api source, merging on (job, number) into SQLite; nested lists become
tables of their own, as it does by itself."""

from __future__ import annotations

from pathlib import Path

import dlt
from dlt.sources.rest_api import rest_api_source

from benchmarks.baselines.bare_loader import FIELDS


def dlt_pipeline(url: str, database: Path, work: Path) -> None:
    """All jobs, by dlt's rest_api source."""
    source = rest_api_source(
        {
            "client": {"base_url": f"{url}/", "paginator": "single_page"},
            "resource_defaults": {"write_disposition": "merge"},
            "resources": [
                {
                    "name": "jobs",
                    "primary_key": "name",
                    "endpoint": {"path": "api/json", "params": {"tree": "jobs[name]"}, "data_selector": "jobs"},
                },
                {
                    "name": "builds",
                    "primary_key": ["_jobs_name", "number"],
                    "include_from_parent": ["name"],
                    "endpoint": {
                        "path": "job/{resources.jobs.name}/api/json",
                        "params": {"tree": f"builds[{FIELDS}]{{{{0,100}}}}"},
                        "data_selector": "builds",
                    },
                },
            ],
        },
        parallelized=False,
    )
    pipeline = dlt.pipeline(
        pipeline_name="jenkins",
        pipelines_dir=str(work),
        destination=dlt.destinations.sqlalchemy(f"sqlite:///{database}"),
        dataset_name="main",
    )
    pipeline.run(source).raise_on_failed_jobs()
