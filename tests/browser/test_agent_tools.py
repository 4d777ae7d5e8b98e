"""The tools for agents, used by an MCP client of a running lab."""

from __future__ import annotations

import asyncio
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from browser import PATIENCE, ROOT, serving
from labs import opened

from instruct_tune.config.viewer import known_by
from instruct_tune.data.sources import BUNDLED_FILE

mcp = pytest.importorskip("mcp", reason="requirements.txt installs it (gradio[mcp]); without it the lab has no tools")
from mcp.client.streamable_http import streamable_http_client  # noqa: E402

pytestmark = pytest.mark.slow

ANN, BOB = "ann's own secret", "bob's own secret"
TOOLS = {
    "preview_data": (["source", "rows", "only_without_input"], []),
    "show_mask": (["instruction", "output", "input", "template", "model"], ["instruction", "output"]),
    "train_a_minute": (["source", "rows", "only_without_input", "model", "name"], []),
    "training_status": (["run_id"], ["run_id"]),
    "compare_answers": (["run_id", "instruction", "input"], ["run_id", "instruction"]),
}
"""Tool → its parameters, and those of them without a default."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(address, path of Ann's upload); a lab as on a Space, where visitors name no paths."""
    folder = tmp_path_factory.mktemp("agents")
    rows = [{"question": f"Add {n} and 1.", "answer": f"{n + 1}. " * 150, "input": "x" * (n % 2)} for n in range(40)]
    (folder / "sums.json").write_text(json.dumps(rows))
    with opened(folder / "data") as made:
        upload = made.uploads.keep(known_by(ANN), folder / "sums.json")
    with serving(folder / "data", SPACE_ID="somebody/lab") as address:
        yield address, str(upload)


def speak(address: str, secret: str, ask: Any) -> Any:
    """What ``ask`` gives with a session of an MCP client that sends ``secret``."""

    async def conversation() -> Any:
        headers, url = {"x-lab-visitor": secret}, f"{address}/gradio_api/mcp/"
        async with (
            httpx.AsyncClient(headers=headers, timeout=PATIENCE, follow_redirects=True) as client,
            streamable_http_client(url, http_client=client) as (read, write, _),
            mcp.ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await ask(session)

    # On another thread: this one has Playwright's event loop where a browser test came before.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, conversation()).result()


def text_of(result: Any) -> str:
    (content,) = result.content
    return content.text


def use(address: str, secret: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """A tool's JSON object."""
    result = speak(address, secret, lambda session: session.call_tool(tool, arguments))
    assert not result.isError, text_of(result)
    return json.loads(text_of(result))


def refused(address: str, secret: str, tool: str, **arguments: Any) -> str:
    """The sentence of a tool that fails."""
    result = speak(address, secret, lambda session: session.call_tool(tool, arguments))
    assert result.isError, text_of(result)
    return text_of(result)


def ended(address: str, secret: str, run_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while (status := use(address, secret, "training_status", run_id=run_id))["phase"] or status["status"] == "queued":
        assert time.monotonic() < deadline, status
        time.sleep(0.2)
    return status


def test_an_agent_sees_five_tools_and_what_each_parameter_is(lab):
    tools = speak(lab[0], ANN, lambda session: session.list_tools()).tools
    schemas = {tool.name: tool.inputSchema for tool in tools}
    assert {name: (list(schema["properties"]), schema.get("required", [])) for name, schema in schemas.items()} == TOOLS
    assert all(tool.description and "Returns: A JSON object" in tool.description for tool in tools)
    parameters = [each for schema in schemas.values() for each in schema["properties"].values()]
    assert all(len(each["description"]) > 10 for each in parameters)
    assert all(each.get("type") in ("string", "integer", "boolean") or each.get("enum") for each in parameters)
    assert schemas["show_mask"]["properties"]["template"]["enum"] == ["lesson", "alpaca", "chat"]
    assert refused(lab[0], ANN, "list_runs") == "Unknown tool for this Gradio app: list_runs"


def test_the_documents_name_the_tools_and_their_parameters():
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", (ROOT / "docs" / "api.md").read_text("utf-8"), re.MULTILINE)
    assert {tool: re.sub(r" \(.*?\)", "", parameters).split(", ") for tool, parameters in rows} == {
        tool: parameters for tool, (parameters, _) in TOOLS.items()
    }


def test_an_agent_looks_at_the_data_and_at_a_mask(lab):
    preview = use(lab[0], ANN, "preview_data", rows=2)
    assert preview["rows_loaded"] == len(BUNDLED_FILE.read_text("utf-8").splitlines())
    assert preview["ledger"][0]["kept"] == preview["rows_to_train_on"] + preview["rows_held_out"]
    assert [sorted(row) for row in preview["rows"]] == [["input", "instruction", "output"]] * 2

    row = {"instruction": "Add 1", "output": "2", "model": "tiny-random"}
    mask = use(lab[0], ANN, "show_mask", **row)
    assert (mask["tokens_with_loss"], mask["first_tokens_with_loss"]) == (2, ["2", "<|im_end|>"])
    # The tiny model's tokenizer spells each byte.
    assert "".join(mask["last_tokens_without_loss"]).endswith("AddĠ1ĊĊ###ĠResponse:Ċ")
    assert use(lab[0], ANN, "show_mask", **row, template="alpaca")["tokens"] > mask["tokens"]
    long = use(lab[0], ANN, "show_mask", **row | {"instruction": "a" * 300, "output": "b" * 300})
    assert (len(long["last_tokens_without_loss"]), len(long["first_tokens_with_loss"])) == (80, 80)


def test_an_agent_trains_and_compares(lab):
    address, _ = lab
    started = use(address, ANN, "train_a_minute", rows=8, model="tiny-random", name="by an agent")
    assert started["status"] in ("queued", "running")
    assert 0 < started["expected_seconds"] < 60
    status = ended(address, ANN, started["run_id"])
    assert (status["status"], status["step"], status["total_steps"]) == ("finished", 2, 2)
    assert [step for step, _ in status["training_loss"]] == [1, 2]
    assert [step for step, _ in status["held_out_loss"]] == [0, 1, 2]
    assert all(0 < loss < 20 for _, loss in status["training_loss"] + status["held_out_loss"])

    question = {"run_id": started["run_id"], "instruction": "Say hi"}
    progress = []

    async def note(*update: Any) -> None:
        progress.append(update)

    followed = speak(
        address, ANN, lambda session: session.call_tool("compare_answers", question, progress_callback=note)
    )
    assert json.loads(text_of(followed)) == use(address, ANN, "compare_answers", **question)
    assert json.loads(text_of(followed)).keys() == {"base", "tuned"}
    assert progress


def test_what_one_agent_brings_another_does_not_see(lab):
    address, upload = lab
    preview = use(address, ANN, "preview_data", source=upload)
    # The columns are found; of the 40 rows, half have an input.
    roles = {"instruction": "question", "input": "input", "output": "answer"}
    assert {role: preview["columns"][role] for role in roles} == roles
    assert preview["rows_to_train_on"] == 16
    assert len(preview["rows"][0]["output"]) == 400
    everything = use(address, ANN, "preview_data", source=upload, only_without_input=False)
    assert everything["rows_to_train_on"] == 32
    run_id = use(address, ANN, "train_a_minute", source=upload, rows=8, model="tiny-random")["run_id"]
    assert ended(address, ANN, run_id)["status"] == "finished"
    use(address, ANN, "compare_answers", run_id=run_id, instruction="Add 1 and 1.")

    for tool, arguments in {
        "preview_data": {"source": upload},
        "train_a_minute": {"source": upload, "model": "tiny-random"},
    }.items():
        assert "choose a dataset of the catalog" in refused(address, BOB, tool, **arguments)
    assert f"There is no run '{run_id}'" in refused(address, BOB, "training_status", run_id=run_id)
    assert f"There is no run '{run_id}'" in refused(address, BOB, "compare_answers", run_id=run_id, instruction="Hi")


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("preview_data", {"rows": "three"}, "'three' is not of type 'integer'"),
        ("preview_data", {"rows": 21}, "rows must be a whole number from 1 to 20."),
        ("preview_data", {"source": "/etc/passwd"}, "This lab is hosted"),
        ("preview_data", {"config": {}}, "config"),
        ("show_mask", {"instruction": "Add 1"}, "'output' is a required property"),
        ("show_mask", {"instruction": "x", "output": "y", "template": "poem"}, "'poem' is not one of"),
        ("show_mask", {"instruction": "x", "output": "y", "model": "/etc"}, "This lab is hosted"),
        ("train_a_minute", {"rows": 201}, "rows must be a whole number from 1 to 200."),
        ("train_a_minute", {"model": "tiny-random", "name": "x" * 1000}, "name"),
        ("training_status", {"run_id": "../../etc/passwd"}, "There is no run"),
        ("compare_answers", {"run_id": "nobody", "instruction": "x"}, "There is no run"),
    ],
)
def test_wrong_arguments_get_a_sentence(lab, tool, arguments, message):
    sentence = refused(lab[0], ANN, tool, **arguments)
    assert message in sentence
    assert "\n" not in sentence
    assert "Traceback" not in sentence


def test_a_secret_that_could_be_guessed_is_refused(lab):
    assert "16 to 200" in refused(lab[0], "short", "preview_data")
