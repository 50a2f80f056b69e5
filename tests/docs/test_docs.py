"""The documentation says what the code does: each hook, class, error, status and event has a heading, examples run."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

import runlink.spi
from runlink.config import base_schema, load, load_items
from runlink.domain import EVENT_TYPES, RUN_END_EFFECT, ExecutionStatus
from runlink.spi import hooks

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def headings(page: str) -> set[str]:
    text = (DOCS / page).read_text("utf-8")
    return {match.strip("` ") for match in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def test_each_hook_has_a_heading():
    specs = {name for name, value in vars(hooks).items() if hasattr(value, "runlink_spec")}
    assert specs
    assert specs <= headings("reference/spi.md")


def test_each_public_class_and_error_of_the_spi_has_a_heading():
    classes = {name for name in runlink.spi.__all__ if isinstance(getattr(runlink.spi, name), type)}
    described_elsewhere = {"ExecutionStatus", "Unknown"}
    assert classes - described_elsewhere <= headings("reference/spi.md")


def test_each_status_and_each_event_has_a_heading():
    assert set(ExecutionStatus) <= headings("reference/statuses.md")
    assert set(EVENT_TYPES) <= headings("reference/statuses.md")


def test_the_table_of_what_an_ended_run_does_is_the_code():
    text = (DOCS / "reference/statuses.md").read_text("utf-8")
    columns = [ExecutionStatus.PENDING, ExecutionStatus.PROCESSING, ExecutionStatus.RETRYING]
    for run_status in (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED):
        effects = [RUN_END_EFFECT.get((run_status, status)) or "stays" for status in columns]
        assert f"| {run_status} | {' | '.join(effects)} |" in text


def test_the_contract_of_the_tutorial_is_that_of_a_new_plugin():
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "tutorial/write-an-adapter.md").read_text("utf-8"), re.DOTALL)
    assert block in (ROOT / "src/runlink/cli/new_plugin/tests/test_contract.py").read_text("utf-8")


def test_the_adapter_of_the_how_to_works():
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "how-to/write-an-adapter.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 2
    namespace: dict[str, object] = {"__name__": "runlink_acme"}
    code = "\n".join(blocks).replace("from runlink_acme import AcmeAdapter, ExecutionStatus\n", "")  # is above it here
    exec(compile(code, "write-an-adapter.md", "exec"), namespace)  # asserts within


def test_the_item_rules_of_the_how_to_are_sound(tmp_path):
    blocks = re.findall(r"```toml\n(.*?)```", (DOCS / "how-to/steps-as-items.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "rules.toml").write_text("\n".join(blocks), "utf-8")
    assert len(load_items(tmp_path / "rules.toml")) == len(blocks) >= 4


@pytest.mark.parametrize("page", sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("plugins/*/README.md")]))
def test_links_between_pages_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_configuration_reference_is_made_from_the_schemas():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts/configuration_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (DOCS / "reference/configuration.md").read_text("utf-8")
    assert written == module.reference(), "run scripts/configuration_reference.py"


def test_the_program_of_the_how_to_runs(tmp_path, monkeypatch, capsys):
    """All but its wait, for nobody runs an engine here: the Run is ended by hand meanwhile."""
    page = (DOCS / "how-to/pass-the-run-id.md").read_text("utf-8")
    program = re.search(r"```python\n(from runlink import connect.*?)```", page, re.DOTALL)
    assert program is not None
    (tmp_path / "runlink.toml").write_text('[automations.release]\nexpected = ["build"]\n')
    monkeypatch.chdir(tmp_path)
    triggered = program[1].replace("print(run.key)", 'print(run.key); record.move_run(run, "cancel", reason="seen")')
    exec(compile(triggered, "pass-the-run-id.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == ["2026-11-23", "CANCELLED seen"]


def test_the_dag_of_the_how_to_names_what_it_uses():
    """It is not run here: its names come from the modules of the DAGs that `make test-engines` runs, or are its own."""
    page = (DOCS / "how-to/pass-the-run-id.md").read_text("utf-8")
    (source,) = re.findall(r"\*\*An Airflow DAG\*\*.*?```python\n(.*?)```", page, re.DOTALL)
    compile(source, "pass-the-run-id.md", "exec")
    tree = ast.parse(source)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    live = (DOCS.parent / "plugins/runlink-airflow/tests/dags/runlink_dags.py").read_text("utf-8")
    assert {node.module for node in imports} <= {n.module for n in ast.walk(ast.parse(live)) if hasattr(n, "module")}
    known = {alias.name for node in imports for alias in node.names}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    known |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
    assert {node.id for node in names} == known


def test_each_key_of_a_link_rule_has_a_heading():
    schema = base_schema()["$defs"]
    assert set(schema["link"]["properties"]) <= headings("reference/linking.md")


@pytest.mark.parametrize("page", ["reference/linking.md", "how-to/stitch-engines.md", "how-to/correct-a-link.md"])
def test_the_link_rules_of_a_page_are_sound(page, tmp_path):
    text = (DOCS / page).read_text("utf-8")
    blocks = re.findall(r"^(?: *```toml\n.*?```|\[\[links\]\]\n.*?```)", text, re.DOTALL | re.MULTILINE)
    assert blocks
    path = tmp_path / "runlink.toml"
    path.write_text("\n".join(re.sub(r" *```(toml)?", "", block) for block in blocks))
    assert load(path, {}).links


@pytest.mark.parametrize("engine", ["airflow", "buildbot", "dagster", "jenkins", "kubernetes", "prefect"])
def test_each_trap_of_an_engine_names_the_test_that_holds_it(engine):
    tests = ROOT / "plugins" / f"runlink-{engine}" / "tests"
    text = (tests / "traps.md").read_text("utf-8")
    rows = re.findall(r"^\| .+ \| `(test_\w+\.py)::(test_\w+)` \|$", text, re.MULTILINE)
    assert len(rows) > 9
    for file, name in rows:
        assert f"def {name}(" in (tests / file).read_text("utf-8"), (file, name)
