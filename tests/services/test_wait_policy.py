"""How OpenMP threads wait: chosen by what shares the cores, before torch is loaded, without a change to any number."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from instruct_tune.errors import SettingsError
from instruct_tune.util.wait_policy import (
    BOUNDED_SPIN,
    CHOSEN_BY_A_PERSON,
    PASSIVE,
    check_environment,
    cpu_quota,
    set_wait_policy,
    why_shared,
)

ROOT = Path(__file__).parents[2]


def written(root, **files):
    """Control group files below ``root``; ``__`` in a name stands for a slash, ``_dot_`` for a dot."""
    for name, text in files.items():
        file = root / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def reason(environ=None, root=Path("/nowhere"), machine_cores=4, usable_cores=4, load=0.0):
    return why_shared(environ or {}, root, machine_cores, usable_cores, load)


V2 = "sys__fs__cgroup__cpu_dot_max"
V2_BELOW = "sys__fs__cgroup__user_dot_slice__lab__cpu_dot_max"
V1 = "sys__fs__cgroup__cpu__cpu_dot_cfs_"
V1_BELOW = "sys__fs__cgroup__cpu__docker__ab__cpu_dot_cfs_"
OF_PROCESS = "proc__self__cgroup"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({V2: "max 100000\n"}, None),
        ({V2: "200000 100000\n"}, 2),
        ({V2: "50000 100000\n"}, 0.5),
        ({V2: "max 100000\n", V2_BELOW: "150000 100000\n"}, None),
        ({V2: "max 100000\n", V2_BELOW: "150000 100000\n", OF_PROCESS: "0::/user.slice/lab/run\n"}, 1.5),
        ({V2: "100000 100000\n", V2_BELOW: "150000 100000\n", OF_PROCESS: "0::/user.slice/lab\n"}, 1),
        ({f"{V1}quota_us": "-1\n", f"{V1}period_us": "100000\n"}, None),
        ({f"{V1}quota_us": "300000\n", f"{V1}period_us": "100000\n"}, 3),
        (
            {
                f"{V1_BELOW}quota_us": "25000\n",
                f"{V1_BELOW}period_us": "50000\n",
                OF_PROCESS: "5:memory:/other\n4:cpuacct,cpu:/docker/ab\n",
            },
            0.5,
        ),
        # The host's path, as a container without its own cgroup namespace reads it.
        ({V2: "200000 100000\n", OF_PROCESS: "0::/kubepods/pod1/c2\n"}, 2),
        ({V2: "garbage"}, None),
        ({V2: "\xff\xfe 1"}, None),
        ({V2: "100000 0\n"}, None),
        ({V2: "200000 100000\n", OF_PROCESS: "no colons here\n"}, 2),
    ],
)
def test_the_quota_of_a_container_is_the_smallest_of_its_groups(tmp_path, files, cores):
    assert cpu_quota(written(tmp_path, **files)) == cores


def test_a_machine_of_ones_own_is_not_shared():
    assert reason() is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"environ": {"SPACE_ID": "someone/space"}}, "Space"),
        ({"usable_cores": 2}, "2 of 4 cores"),
        ({"load": 2.0}, "load average is 2.0"),
        ({"environ": {"LAB_SHARED_CPU": "1"}}, "LAB_SHARED_CPU"),
    ],
)
def test_each_situation_that_shares_the_cores_is_named(given, words):
    assert words in reason(**given)


def test_a_quota_below_the_machines_cores_shares_them(tmp_path):
    root = written(tmp_path, **{V2: "200000 100000\n"})
    assert "quota of 2 of 4 cores" in reason(root=root)
    assert reason(root=root, machine_cores=2, usable_cores=2) is None


@pytest.mark.parametrize("shared", [{"environ": {"SPACE_ID": "a/b"}}, {"usable_cores": 1}, {"load": 9.0}])
def test_a_person_may_say_that_nothing_is_shared(shared):
    environ = shared.pop("environ", {}) | {"LAB_SHARED_CPU": "0"}
    assert reason(environ, **shared) is None


def test_a_little_load_is_not_a_neighbour():
    assert reason(load=1.9) is None


@pytest.mark.parametrize(("shared", "policy"), [("1", PASSIVE), ("0", BOUNDED_SPIN)])
def test_threads_sleep_where_cores_are_shared_and_spin_a_little_elsewhere(shared, policy):
    environ = {"LAB_SHARED_CPU": shared}
    set_wait_policy(environ)
    assert environ == {"LAB_SHARED_CPU": shared} | policy


@pytest.mark.parametrize("name", CHOSEN_BY_A_PERSON)
@pytest.mark.parametrize("shared", ["0", "1"])
def test_what_the_environment_says_is_left_alone(name, shared):
    environ = {"LAB_SHARED_CPU": shared, name: "mine"}
    set_wait_policy(environ)
    assert environ == {"LAB_SHARED_CPU": shared, name: "mine"}


@pytest.mark.parametrize("value", ["yes", "2", " 1"])
def test_a_value_that_is_neither_yes_nor_no_is_refused(value):
    with pytest.raises(SettingsError, match="LAB_SHARED_CPU must be 1"):
        check_environment({"LAB_SHARED_CPU": value})


@pytest.mark.parametrize("environ", [{}, {"LAB_SHARED_CPU": ""}, {"LAB_SHARED_CPU": "0"}, {"LAB_SHARED_CPU": "1"}])
def test_yes_no_and_nothing_are_taken(environ):
    check_environment(environ)


@pytest.mark.parametrize("command", [["-m", "instruct_tune", "runs", "list"], ["app.py"]])
def test_a_wrong_value_is_one_sentence_at_the_start(command, tmp_path):
    environ = os.environ | {"LAB_SHARED_CPU": "perhaps"}
    command = [sys.executable, *command, "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environ, timeout=300)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "LAB_SHARED_CPU must be 1" in done.stderr


def started(script, **variables):
    """Run ``script`` in a new process without this one's OpenMP variables, and return it with stdout and stderr."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, env=inherited | variables, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("module", ["app", "instruct_tune.cli.commands", "instruct_tune", "benchmarks"])
def test_every_start_chooses_before_torch_is_loaded(module):
    script = f"import {module}, os, sys; print('torch' in sys.modules, os.environ.get('OMP_WAIT_POLICY'))"
    assert started(script, LAB_SHARED_CPU="1").stdout.split() == ["False", "PASSIVE"]


DIGEST = """
import instruct_tune, torch
torch.set_num_threads(2)
torch.manual_seed(1)
weight = torch.randn(300, 300, requires_grad=True)
loss = (torch.randn(400, 300) @ weight).softmax(-1).square().sum()
loss.backward()
print(loss.item().hex(), weight.grad.double().sum().item().hex())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="torch brings libgomp on Linux only")
@pytest.mark.slow
@pytest.mark.nightly
def test_the_runtime_reads_the_choice_and_the_numbers_are_the_same():
    display = {"OMP_DISPLAY_ENV": "VERBOSE"}
    passive = started(DIGEST, LAB_SHARED_CPU="1", **display)
    bounded = started(DIGEST, LAB_SHARED_CPU="0", **display)
    stock = started(DIGEST.replace("instruct_tune, ", ""), **display)
    counts = [done.stderr.split("GOMP_SPINCOUNT = '")[1].split("'")[0] for done in (passive, bounded, stock)]
    assert counts == ["0", "10000", "300000"]
    assert passive.stdout == bounded.stdout == stock.stdout
