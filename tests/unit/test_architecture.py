"""Architecture rules: imports go one way between layers, and slow libraries are imported only when needed."""

import ast
import functools
import re
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "instruct_tune"

# The layers, bottom to top. A place (a module, or a package with its modules) imports only from those before it.
LAYERS = (
    ("errors",),
    ("util", "text", "kernels"),
    ("config",),
    ("store", "pretrained"),
    ("data",),
    ("tokenization",),
    ("batching",),
    ("models",),
    ("generation", "inspection", "estimate"),
    ("evaluation", "training"),
    ("runs", "experiments", "lesson"),
    ("export", "compute", "script"),
    ("services",),
    ("lab",),
    ("ui",),
    ("cli", "app"),
    ("__main__",),
)
LAYER = {place: number for number, places in enumerate(LAYERS) for place in places}

# Each library and the only places that import it.
AT_HOME = {
    "gradio": ("ui", "app"),
    "plotly": ("ui",),
    "spaces": ("ui.gpu_allocation",),
    "peft": ("models.lora", "models.lora_support"),
    "trl": ("training.sft_config", "training.trainer"),
    "sacrebleu": ("evaluation.bleu",),
    "evaluate": ("evaluation.bleu",),
    "sqlite3": ("store", "text.code_parsing"),
    "matplotlib": ("export.figures",),
    "rapidfuzz": ("data.near_duplicates",),
    "jinja2": ("tokenization.chat_template",),
    "yaml": ("data.hub", "export.model_card"),
    "segno": ("ui.room",),
}


def files():
    return [ROOT / "app.py", *sorted(PACKAGE.rglob("*.py"))]


def module(file):
    """A file's name below the package, such as ``data.table``; for an ``__init__``, the package's name."""
    if file.parent == ROOT:
        return file.stem
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def place(file):
    """The name in ``LAYERS`` that a file belongs to; a package is one place."""
    return module(file).split(".")[0]


@functools.cache
def imports(file):
    """Every import anywhere in a file, absolute: (line, module, whether it runs when the file is imported)."""
    return tuple(_imports(file))


def _imports(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inside = {
        id(n) for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)) for n in ast.walk(f)
    }
    package = () if file.parent == ROOT else ("instruct_tune", *file.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, node.module) if node.module else base)
            # "from . import adapter" imports a module, "from .adapter import load" a name in one.
            is_package = (ROOT / module.replace(".", "/")).is_dir()
            modules = [f"{module}.{alias.name}" for alias in node.names] if is_package else []
            names = modules if modules and all(_is_module(name) for name in modules) else [module]
        else:
            continue
        for name in names:
            yield node.lineno, name, id(node) not in inside


def _is_module(name):
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def own(name):
    """The place in ``LAYERS`` of one of the lab's own modules; None for a library."""
    parts = name.split(".")
    return (parts[1] if len(parts) > 1 else "") if parts[0] == "instruct_tune" else None


def test_the_reader_of_imports_sees_all_kinds(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "instruct_tune")
    for folder in ("ui", "desk"):
        (tmp_path / "instruct_tune" / folder).mkdir(parents=True)
    for name in ("adapter", "desk/runner", "ui/view"):
        (tmp_path / "instruct_tune" / f"{name}.py").touch()
    file = tmp_path / "instruct_tune" / "ui" / "tab.py"
    file.write_text(
        "import torch.nn as nn\nfrom .. import adapter\nfrom ..lab import Lab\nfrom . import view\n"
        "def f():\n    from peft import LoraConfig\n    import instruct_tune.store\n"
        "    from instruct_tune.desk import runner\n"
        "if True:\n    import trl\n"
    )
    assert sorted(imports(file)) == [
        (1, "torch.nn", True), (2, "instruct_tune.adapter", True), (3, "instruct_tune.lab", True),
        (4, "instruct_tune.ui.view", True), (6, "peft", False), (7, "instruct_tune.store", False),
        (8, "instruct_tune.desk.runner", False), (10, "trl", True),
    ]  # fmt: skip
    assert [own(name) for _, name, _ in sorted(imports(file))] == [
        None, "adapter", "lab", "ui", None, "store", "desk", None,
    ]  # fmt: skip
    assert place(file) == "ui"


def test_every_module_has_its_place():
    assert {place(file) for file in files()} - {""} == set(LAYER)
    assert len(LAYER) <= 28
    assert len(LAYERS) <= 18


def test_the_documents_name_every_module_once_and_no_file_that_is_not_there():
    texts = {
        path.name: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    }
    house = texts["architecture.md"].split("```")[1]
    listed = re.findall(r"^ *(\w+\.py)\b", house, re.MULTILINE)
    assert Counter(listed) == Counter(file.name for file in files() if file.name != "__init__.py")
    others = set()
    for text in texts.values():
        others |= set(re.findall(r"\b(?:tests/[\w/]+\.py|docs/\w+\.md|assets/\w+\.\w+)", text))
    assert [name for name in sorted(others) if not (ROOT / name).is_file()] == []


def test_the_slowest_tests_that_the_documents_name_are_there():
    named = re.findall(r"^\| \d+ \| `([^`]+)` \| (\w+) \|$", (ROOT / "docs/contributing.md").read_text(), re.MULTILINE)
    assert len(named) >= 40
    for file, test in named:
        assert re.search(rf"def {test}\b", (ROOT / "tests" / file).read_text()), (file, test)


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_flow_one_way(file):
    own_place = place(file)
    # The package's own ``__init__`` imports only what must run before every library.
    allowed = {layer for layer in LAYER if LAYER[layer] < LAYER[own_place]} if own_place else {"util"}
    wrong = [
        f"{file.name}:{line} imports {name}"
        for line, name, _ in imports(file)
        if own(name) not in (None, own_place, *allowed)
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    ours = {module(file): file for file in files()}
    imported = {
        importer: {name.removeprefix("instruct_tune.") for _, name, at_once in imports(file) if own(name) and at_once}
        for importer, file in ours.items()
    }
    assert {"data.table", "errors"} <= imported["data.sources"]
    list(
        TopologicalSorter(
            {importer: (names & ours.keys()) - {importer} for importer, names in imported.items()}
        ).static_order()
    )


@pytest.mark.parametrize("library", AT_HOME)
def test_each_of_these_libraries_is_imported_in_one_place(library):
    where = {module(file) for file in files() for _, name, _ in imports(file) if name.split(".")[0] == library}
    assert [here for here in where if not any(f"{here}.".startswith(f"{home}.") for home in AT_HOME[library])] == []
    assert where or library in ("plotly",), "then this line has outlived its library"


def test_only_the_page_knows_of_the_page():
    knowing = {place(file) for file in files() for _, name, _ in imports(file) if own(name) == "ui"}
    assert knowing <= {"ui", "app", "cli"}
    # A run as one page is made of the page's pieces; the command that writes it is all that knows of them.
    commands = {name for file in files() if place(file) == "cli" for _, name, _ in imports(file) if own(name) == "ui"}
    assert commands <= {"instruct_tune.ui.run_page.page"}


def test_a_room_of_the_page_knows_what_all_share_and_itself():
    """Tabs do not import each other: they communicate through the page, which imports them all.

    So does a run's own page, which is made of their pieces.
    """
    packages = {path.name for path in (PACKAGE / "ui").iterdir() if (path / "__init__.py").is_file()}
    assert {"data", "format", "train", "compare", "evaluate", "runs", "experiments"} <= packages
    wrong = []
    for file in sorted((PACKAGE / "ui").rglob("*.py")):
        here = file.parent.name
        allowed = {here, "run_page"} if file.name == "api.py" else {here}
        if here == "run_page" or (here == "ui" and file.name == "__init__.py"):
            allowed = packages
        for line, name, _ in imports(file):
            package = name.removeprefix("instruct_tune.ui.").split(".")[0]
            if own(name) == "ui" and package in packages - allowed:
                wrong.append(f"{module(file)}:{line} imports {name}")
    assert wrong == []


def test_a_panel_gets_its_services_and_not_the_lab():
    """Only the page's builder, the endpoints and the tools import the lab; an import for types alone counts too."""
    importing = {module(file) for file in files() for _, name, _ in imports(file) if name == "instruct_tune.lab"}
    assert {name for name in importing if f"{name}.".startswith("ui.")} == {
        "ui",
        "ui.agent_tools",
        "ui.api",
        "ui.room.routes",
    }


def test_the_page_reads_runs_through_services_that_know_the_viewer():
    """The store and the queue have no notion of viewers: a handler that used them would show everybody's runs to
    everybody."""
    wrong = []
    for file in sorted((PACKAGE / "ui").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and re.fullmatch(r".*\blab\.(store|queue|models)", ast.unparse(node)):
                wrong.append(f"{module(file)}:{node.lineno} {ast.unparse(node)}")
            if isinstance(node, ast.ImportFrom):
                types = {alias.name for alias in node.names} & {"RunStore", "JobQueue", "ModelHost"}
                wrong += [f"{module(file)}:{node.lineno} imports {name}" for name in sorted(types)]
    assert wrong == []


def test_no_public_method_of_a_service_defaults_its_viewer():
    wrong = []
    for file in sorted((PACKAGE / "services").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            names = [arg.arg for arg in node.args.args if arg.arg != "self"]
            defaulted = names[len(names) - len(node.args.defaults) :] if node.args.defaults else []
            private = node.name.startswith("_")
            if "viewer" in defaulted or ("viewer" in names and names[0] != "viewer" and not private):
                wrong.append(f"{module(file)}.{node.name}")
    assert wrong == []


BUILDS = "|".join(
    (r"AutoModel\w*\.from_(?:config|pretrained)", r"LlamaForCausalLM\(", r"\b(?:torch|random)\.manual_seed", "fork_rng",
     "set_default_dtype")
)  # fmt: skip
"""Building a model, and other changes to the state of the whole process: only on the queue's thread."""
BUILDERS = {
    "batching.packing_trial", "estimate.calibrate", "generation.generate", "models.lora", "models.lora_support",
    "pretrained.read_model", "pretrained.tiny_random",
    "export.model_card", "script.answers", "script.training",  # which show the code to readers
}  # fmt: skip


def test_models_are_built_in_few_places_which_the_engine_runs():
    """A new one belongs on the queue's thread; tests/services/test_lab_isolation.py finds those that are not."""
    builders = {module(file) for file in files() if re.search(BUILDS, file.read_text(encoding="utf-8"))}
    assert builders == BUILDERS


SLOW = (
    "torch", "transformers", "trl", "peft", "datasets", "evaluate", "sacrebleu", "matplotlib", "gradio", "pandas",
    "spaces",
)  # fmt: skip


@pytest.mark.parametrize(
    ("module", "may"),
    [
        ("instruct_tune.lab", ()),
        ("instruct_tune.cli.commands", ()),
        ("instruct_tune.inspection.first_content", ()),
        ("app", ()),
        # Importing gradio takes seconds anyway, and imports pandas.
        pytest.param("instruct_tune.ui", ("gradio", "pandas"), marks=pytest.mark.slow),
    ],
)
def test_importing_it_does_not_wait_for_slow_libraries(module, may):
    script = f"import sys, {module}; print(*sorted(set({SLOW!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= set(may)


def test_nothing_is_configured_by_hand_twice():
    """Every preset has its note, and every note its preset."""
    from instruct_tune.config.presets import PRESET_NOTES, PRESETS

    assert set(PRESET_NOTES) == set(PRESETS)
