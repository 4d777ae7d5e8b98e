"""The files of a path: what a step may say, and the sentence about each fault."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruct_tune.errors import DataError, LabError
from instruct_tune.lesson.library import hosted_path, own_path
from instruct_tune.lesson.parse import MAX_BYTES, LessonPath, Step, parse_path, read_path
from instruct_tune.lesson.vocabulary import CONTROLS, NOTICES, PLACES, SETTINGS, TABS

DOCS = Path(__file__).parents[2] / "docs"


def step(
    fields: str = "tab: Train", text: str = "Read this.", task: str = "Do: Press it.", title: str = "One"
) -> bytes:
    return f"# {title}\n{fields}\n\n{text}\n\n{task}\n".encode()


def test_a_step_with_every_field():
    content = b"path: My class\n\n" + step(
        "tab: Train\nsets: lora.r = 64; template = alpaca\nmarks: lora.r\npoints_at: train-chart, train-cost\n"
        "notices: trained",
        "First, in\ntwo lines.\n\nSecond with **bold**.",
    )
    assert parse_path(content, "a.md") == LessonPath(
        "My class",
        (
            Step(
                title="One",
                tab="Train",
                text=("First, in two lines.", "Second with **bold**."),
                task="Press it.",
                sets=(("lora.r", 64), ("template", "alpaca")),
                marks=("lora.r",),
                points_at=("train-chart", "train-cost"),
                notices="trained",
            ),
        ),
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", 'a.md has no step: a step begins with a line "# TITLE".'),
        (b"Hello\n\n" + step(), 'a.md: before the first step stands "path: TITLE" or nothing, not Hello.'),
        (step("sets: lora.r = 8"), "a.md, step 1 (One), tab: must be one of " + ", ".join(TABS) + ', not "".'),
        (step("tab: Lesson"), "a.md, step 1 (One), tab: must be one of " + ", ".join(TABS) + ", not Lesson."),
        (step() + step("tab: Train\ntab: Data"), "a.md, step 2 (One), tab: is given twice."),
        (
            step("tab: Train\nsets: model = evil/model"),
            "a.md, step 1 (One), sets: there is no control model to set: docs/teaching.md has the list.",
        ),
        (step("tab: Train\nsets: lora.r"), "a.md, step 1 (One), sets: lora.r must be NAME = VALUE."),
        (step("tab: Train\nsets: lora.r = 65"), "a.md, step 1 (One), sets: lora.r must be at most 64."),
        (
            step("tab: Train\nsets: train.learning_rate = fast"),
            'a.md, step 1 (One), sets: train.learning_rate must be a number, not "fast".',
        ),
        (
            step("tab: Format\nsets: template = custom"),
            "a.md, step 1 (One), sets: template must be one of lesson, alpaca, chat or prompt texts, not 'custom'.",
        ),
        (
            step("tab: Format\nsets: format-row = 0"),
            "a.md, step 1 (One), sets: format-row must be a whole number from 1 to 1,000,000.",
        ),
        (
            step("tab: Train\nsets: generation.do_sample = true; generation.num_beams = 5"),
            "a.md, step 1 (One), sets: generation.do_sample works with generation.num_beams 1 only.",
        ),
        (
            step("tab: Train\nmarks: path-apply"),
            "a.md, step 1 (One), marks: there is no path-apply to mark: docs/teaching.md has the list.",
        ),
        (
            step("tab: Train\npoints_at: data-rows"),
            "a.md, step 1 (One), points_at: data-rows is on the tab Data, and this step opens Train.",
        ),
        (
            step("tab: Train\nnotices: everything"),
            "a.md, step 1 (One), notices: must be one of " + ", ".join(NOTICES) + ", not everything.",
        ),
        (
            step("tab: Train\nscript: alert(1)"),
            "a.md, step 1 (One): script: alert(1) is not a field: there are tab, sets, marks, points_at, notices, "
            "each as NAME: VALUE, and an empty line before the text.",
        ),
        (step(task="Press it."), 'a.md, step 1 (One): its last paragraph must be one thing to do, "Do: …".'),
        (b"# One\ntab: Train\n\nDo: it\n", 'a.md, step 1 (One): has no text before "Do:".'),
        (
            step(text="x" * 2001),
            "a.md, step 1 (One), text: has 2,001 characters, and at most 2,000 are allowed: shorten it.",
        ),
        (
            step(title="x" * 101),
            "a.md, step 1, title: has 101 characters, and at most 100 are allowed: shorten it.",
        ),
        (step() * 10_000, "a.md is larger than 100,000 bytes, which is the most for a path: shorten it."),
        (b"# x\n" * 10_000, "a.md has 10,000 steps, and a path has at most 40: shorten it."),
        (b"\xff\xfe#\x00", "a.md is not UTF-8 text but looks like UTF-16 (byte 1 is the first that is wrong): save it "
         "as UTF-8."),
        (step(text="a\x00b"), "a.md, line 4 holds the control character U+0000: remove it."),
        (step(text="a\u202eb"), "a.md, line 4 holds the control character U+202E: remove it."),
    ],
)  # fmt: skip
def test_a_fault_is_one_sentence_that_names_file_step_and_field(content, sentence):
    with pytest.raises(DataError) as caught:
        parse_path(content, "a.md")
    assert str(caught.value) == sentence


def test_html_and_markdown_stay_text():
    text = "<script>alert(1)</script> <img src=x onerror=alert(1)> [a](javascript:x) ${alert(1)} {{x}}"
    read = parse_path(step(text=text, task=f"Do: {text}", title=text[:50]), "a.md").steps[0]
    assert (read.title, read.text, read.task) == (text[:50], (text,), text)


def message_about(content: bytes) -> str:
    """The message of the error about a file; its name where there is none."""
    try:
        parse_path(content, "a.md")
    except LabError as error:
        return str(error)
    return "a.md"


@given(st.binary(max_size=400) | st.text(max_size=400).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_random_bytes_are_a_path_or_one_error(content):
    assert "a.md" in message_about(content)


NAME = st.sampled_from([*SETTINGS, *CONTROLS, "data.source", "model", "x"])
NUMBER = st.integers() | st.floats()
VALUE = st.text(max_size=30) | NUMBER.map(str) | st.sampled_from(["null", "[]", "{}", "1e999"])
FIELD = st.sampled_from(["tab", "sets", "marks", "points_at", "notices"])
FIELDS, SETS = (st.lists(st.tuples(name, VALUE), max_size=5) for name in (FIELD, NAME))


@given(FIELDS, SETS, st.text(max_size=99))
def test_random_fields_are_a_step_or_one_error(fields, sets, text):
    lines = [f"{name}: {value}" for name, value in fields]
    lines += ["tab: Train", "sets: " + "; ".join(f"{name} = {value}" for name, value in sets)]
    content = "\n".join(["# One", *lines, "", text, "", "Do: it"])
    assert "a.md" in message_about(content.encode("utf-8", "surrogatepass"))


def test_a_folder_is_its_files_one_after_another(tmp_path):
    (tmp_path / "2.md").write_bytes(step(title="Second") + step(title="Third"))
    (tmp_path / "1.md").write_bytes(b"path: Mine\n\n" + step(title="First"))
    (tmp_path / "notes.txt").write_text("not a step")
    path = read_path(tmp_path)
    assert (path.title, [each.title for each in path.steps]) == ("Mine", ["First", "Second", "Third"])


def test_too_large_a_file_is_not_read_whole(tmp_path):
    with (tmp_path / "a.md").open("wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(DataError, match=f"larger than {MAX_BYTES:,} bytes"):
        read_path(tmp_path / "a.md")


def test_the_hosts_paths_are_found_by_name_alone(tmp_path):
    folder = tmp_path / "paths"
    (folder / "month").mkdir(parents=True)
    (folder / "week1.md").write_bytes(step(title="Week one"))
    (folder / "month" / "1.md").write_bytes(step(title="A month"))
    (tmp_path / "secret.md").write_bytes(step(title="Secret"))
    assert hosted_path("week1", folder).steps[0].title == "Week one"
    assert hosted_path("month", folder).steps[0].title == "A month"
    for name in (
        "../secret",
        "..",
        ".",
        "/etc/passwd",
        str(tmp_path / "secret"),
        "week1.md",
        "week2",
        "month/1",
        "\x00",
    ):
        with pytest.raises(DataError, match="This lab has no path"):
            hosted_path(name, folder)
    with pytest.raises(DataError, match="This lab has no path week1"):
        hosted_path("week1", tmp_path / "missing")


# The lab's own path


def test_the_labs_own_path_has_nine_steps_on_the_topics_in_order():
    topics = ["Data", "Format", "Format", "Train", "Train", "Train", "Compare", "Evaluate", "Evaluate"]
    assert [each.tab for each in own_path().steps] == topics
    assert [each.notices for each in own_path().steps] == list(NOTICES)


@pytest.mark.parametrize("at", range(9))
def test_a_step_of_the_lab_is_short_and_has_something_to_see(at):
    read = own_path().steps[at]
    sentences = len(re.findall(r"[.:?](?= |$)", " ".join(read.text)))
    assert sentences <= 11
    assert len(" ".join(read.text).split()) <= 130
    assert read.points_at


def test_the_example_of_the_documentation_is_a_path():
    examples = re.findall(r"```markdown\n(.*?)```", (DOCS / "teaching.md").read_text(encoding="utf-8"), re.DOTALL)
    path = parse_path(examples[0].encode(), "example.md")
    assert len(path.steps) >= 2


def test_the_documentation_lists_all_that_a_step_may_name():
    text = (DOCS / "teaching.md").read_text(encoding="utf-8")
    places = [name for each in PLACES.values() for name in each]
    missing = [name for name in (*TABS, *SETTINGS, *CONTROLS, *places, *NOTICES) if f"`{name}`" not in text]
    assert missing == []
