"""What the live test runs: one job for each thing a run can do. `dagster_engine.py` has a real Dagster load it."""

import time

import dagster as dg

# In one process: a start on a busy machine then takes seconds, not half a minute.
IN_PROCESS = dg.in_process_executor


@dg.op(config_schema={"run_id": dg.Field(str, default_value="")})
def extract(context):
    return 2


@dg.op
def load(_context, number):
    return number


@dg.job(executor_def=IN_PROCESS, tags={"team": "data"})
def ok_job():
    load(extract())


@dg.op
def boom(_context):
    raise ValueError("no such table: orders — Zürich")


@dg.job(executor_def=IN_PROCESS)
def fail_job():
    boom()


@dg.op(retry_policy=dg.RetryPolicy(max_retries=2, delay=1))
def flaky(context):
    if context.retry_number < 2:
        raise ValueError(f"try {context.retry_number} failed")


@dg.job(executor_def=IN_PROCESS)
def retry_job():
    flaky()


@dg.op(out=dg.DynamicOut())
def items(_context):
    for number in (1, 2, 3):
        yield dg.DynamicOutput(number, mapping_key=str(number))


@dg.op
def square(_context, number):
    return number * number


@dg.op
def total(_context, numbers):
    return sum(numbers)


@dg.job(executor_def=IN_PROCESS)
def mapped_job():
    total(items().map(square).collect())


@dg.op(config_schema={"seconds": dg.Field(float, default_value=600.0)})
def sleepy(context):
    for _ in range(int(context.op_config["seconds"] * 5)):
        time.sleep(0.2)


@dg.job
def long_job():
    """With the default executor: each step in a process of its own, which is ended when the run is terminated."""
    sleepy()


@dg.op
def first_run_fails(context):
    if context.run.parent_run_id is None:
        raise RuntimeError("the first run of its group fails")


@dg.job(executor_def=IN_PROCESS, tags={"dagster/max_retries": "1"})
def auto_retried_job():
    """Dagster itself runs it again, once, as a new run."""
    first_run_fails()


defs = dg.Definitions(jobs=[ok_job, fail_job, retry_job, mapped_job, long_job, auto_retried_job])
