"""Jobs side by side: all come back, and an error comes out."""

import pytest

from trainer.engine.side_by_side import run_side_by_side


def square(x: int) -> int:
    return x * x


def fail(x: int) -> int:
    raise ValueError(f"job {x} failed")


def test_one_worker_runs_the_jobs_in_order_in_this_process():
    assert list(run_side_by_side(square, [(2,), (3,)], workers=1)) == [(0, 4), (1, 9)]


@pytest.mark.slow
def test_more_workers_give_the_same_answers_and_raise_what_a_job_raises():
    jobs = [(i,) for i in range(4)]
    assert sorted(run_side_by_side(square, jobs, workers=2)) == [(i, i * i) for i in range(4)]
    with pytest.raises(ValueError, match="job 0 failed"):
        list(run_side_by_side(fail, [(0,)], workers=2))


def test_no_worker_is_an_error():
    with pytest.raises(ValueError, match="0 workers"):
        list(run_side_by_side(square, [(1,)], workers=0))
