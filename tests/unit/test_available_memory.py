"""Memory that programs can still take includes the memory that only caches files."""

from instruct_tune.util.machine import available_memory, unused_memory


def test_what_caches_files_can_be_taken(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(
        "MemTotal:       8000000 kB\nMemFree:         200000 kB\nMemAvailable:   7000000 kB\nHugePages_Total: 0\n"
    )
    assert available_memory(meminfo) == 7_000_000 * 1024


def test_where_the_system_does_not_tell_it_is_what_holds_nothing(tmp_path):
    assert (available_memory(tmp_path / "nothing") is None) == (unused_memory() is None)
