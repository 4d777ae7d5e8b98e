"""Errors cross the border of a worker process, where they are pickled."""

import pickle

import pytest

from instruct_tune import errors
from instruct_tune.errors import GpuError, LabError, SettingsError, Stopped


def kinds(error):
    return [error, *(each for child in error.__subclasses__() for each in kinds(child))]


@pytest.mark.parametrize("kind", [kind for kind in kinds(LabError) if kind.__module__ == errors.__name__])
def test_an_error_is_the_same_after_it_was_pickled(kind):
    error = kind(["one is wrong", "two is"]) if kind is SettingsError else kind("Something is wrong.")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.kind) == (kind, str(error), error.kind)
    assert vars(again) == vars(error)


def test_what_a_gpu_error_knows_is_kept():
    again = pickle.loads(pickle.dumps(GpuError("Used up.", "Wait.", 12)))
    assert (again.reason, again.remedy, again.seconds_left) == ("Used up.", "Wait.", 12)


def test_a_stop_can_be_pickled():
    assert type(pickle.loads(pickle.dumps(Stopped()))) is Stopped
