"""Helpers for the tests of exported scripts: a Python that has the libraries and no lab, and what a script computed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from instruct_tune.config.run_config import RunConfig
from instruct_tune.pretrained.locate import locate
from instruct_tune.script.script import sections

RESULTS = (
    "FINGERPRINT", "train_rows", "held_out_rows", "losses", "held_out_losses", "base_answers", "tuned_answers",
    "scores", "exact",
)  # fmt: skip
"""Names of a script's results."""

NO_LAB = """
try:
    import instruct_tune.lab
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the lab can be imported here")
"""
WRITE_RESULTS = f"""
import json, pathlib
found = {{name: globals()[name] for name in {RESULTS!r} if name in globals()}}
pathlib.Path("results.json").write_text(json.dumps(found))
"""
RUN_EACH = f"""
import json, os, runpy, sys
{NO_LAB}
for file in sys.argv[1:]:
    os.chdir(os.path.dirname(file))
    script = runpy.run_path(file, run_name="__main__")
    found = {{name: script[name] for name in {RESULTS!r} if name in script}}
    with open("results.json", "w") as results:
        json.dump(found, results)
"""


ALONE = {"PYTHONPATH": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
"""Environment variables of a script: no path of this process, one thread, no network."""


def python_without_lab(folder: Path) -> Path:
    """A new Python that sees the installed libraries, but not the lab, which is installed by a .pth file of its own.

    Python reads .pth files in the site-packages of the environment alone, not in folders that such a file names.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "libraries.pth").write_text("\n".join(libraries))
    return folder / "bin" / "python"


def environment() -> dict[str, str]:
    return {**os.environ, **ALONE}


def run_scripts(python: Path, scripts: list[Path]) -> dict[Path, dict]:
    """Run the scripts one after the other in one process, each in its folder; their results."""
    done = subprocess.run(
        [str(python), "-c", RUN_EACH, *map(str, scripts)],
        capture_output=True, text=True, cwd=scripts[0].parent, env=environment(), timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return {script: json.loads((script.parent / "results.json").read_text()) for script in scripts}


def launch(python: Path, script: Path, processes: int) -> str:
    """Run a script in several processes under ``accelerate launch``; its output.

    ``--cpu`` would start one process, whatever ``--num_processes`` says, unless MPI starts them. ``--multi_gpu`` starts
    them with torchrun, and without a GPU they compute on the CPU.
    """
    command = [str(python), "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    done = subprocess.run(
        [*command, "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", str(script)],
        capture_output=True, text=True, cwd=script.parent, env=environment(), timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def loud_model(tiny: Path, folder: Path) -> Path:
    """The tiny model with larger weights, in a folder: what it learns shows in its texts."""
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    return folder


def kernel(python: Path, folder: Path) -> None:
    """Write the specification of a Jupyter kernel "bare" of this Python; ``folder`` belongs into JUPYTER_PATH."""
    place = folder / "kernels" / "bare"
    place.mkdir(parents=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "bare", "language": "python", "env": ALONE}
    (place / "kernel.json").write_text(json.dumps(spec))


def run_part(config: RunConfig, tabs: tuple[str, ...], folder, monkeypatch) -> dict:
    """The names that these tabs' sections define, run in ``folder``."""
    monkeypatch.chdir(folder)
    names: dict = {}
    for section in sections(config):
        if section.tab in tabs:
            exec(compile(section.text, section.title, "exec"), names)
    return names


def model_with(tokenizer, folder: Path) -> Path:
    """The tiny model with another tokenizer, in ``folder``."""
    shutil.copytree(locate("tiny-random", lambda text: None).path, folder)
    for tokenizers_file in folder.glob("tokenizer*"):
        tokenizers_file.unlink()
    tokenizer.save_pretrained(folder)
    return folder
