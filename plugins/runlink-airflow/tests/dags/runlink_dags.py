"""What the live test runs: success, failure, retries, a fan-out, a long run and a run that starts another."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import dag, task

ALWAYS = {
    "schedule": None,
    "start_date": datetime(2026, 1, 1, tzinfo=UTC),
    "catchup": False,
    "tags": ["runlink", "live"],
}


@dag(dag_id="ok", **ALWAYS)
def ok():
    @task
    def extract():
        return 1

    @task
    def load(rows):
        return rows

    load(extract())


@dag(dag_id="fail", **ALWAYS)
def fail():
    @task
    def boom():
        raise ValueError("no such table")

    @task
    def never(rows):
        return rows

    never(boom())


@dag(dag_id="retry", **ALWAYS)
def retry():
    """Fails twice, then succeeds: the file counts the tries of each run."""

    @task(retries=2, retry_delay=timedelta(seconds=1))
    def flaky(**context):
        counter = Path(__file__).parent / f"tries-{context['dag_run'].run_id}"
        tries = int(counter.read_text()) + 1 if counter.exists() else 1
        counter.write_text(str(tries))
        if tries < 3:
            raise ValueError(f"try {tries} of 3")

    flaky()


@dag(dag_id="mapped", **ALWAYS)
def mapped():
    """One of the mapped tasks fails; the run succeeds all the same."""

    @task
    def items():
        return [1, 2, 3]

    @task
    def square(number):
        if number == 3:
            raise ValueError("bad item 3")
        return number * number

    @task(trigger_rule="all_done")
    def total():
        return 0

    square.expand(number=items()) >> total()


@dag(dag_id="long", **ALWAYS)
def long():
    @task
    def sleepy(**context):
        import time

        time.sleep(float((context["dag_run"].conf or {}).get("seconds", 60)))

    @task
    def after():
        return None

    sleepy() >> after()


@dag(dag_id="parent", **ALWAYS)
def parent():
    TriggerDagRunOperator(task_id="start_child", trigger_dag_id="ok", conf={"from": "parent"})


ok()
fail()
retry()
mapped()
long()
parent()
