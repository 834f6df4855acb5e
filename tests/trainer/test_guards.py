"""A list of guards that names a test which is not there is noticed."""

from tests.trainer.guards import Guards, missing

HERE = "trainer/test_guards.py"


def test_a_guard_that_is_gone_would_be_noticed():
    guards: Guards = {
        "there": ((HERE, "test_a_guard_that_is_gone_would_be_noticed"),),
        "a": ((HERE, "test_no_such_thing"),),
        "b": (("no/file.py", "test_x"),),
        "c": (),
    }
    assert [line[0] for line in missing(guards)] == ["a", "b", "c"]
