"""The rules of TensorFlow Serving's batching guide, one by one."""

import threading

import numpy as np
import pytest

from tfvit.server import batching
from tfvit.server import configs
from tfvit.server import status

LONG = 60.0  # Seconds: nothing waits so long, unless the rule is broken.


class Recorder:
    """Doubles x, notes the batches, and can be kept from going on."""

    def __init__(self):
        self.batches = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.busy = threading.Semaphore(0)

    def __call__(self, inputs):
        self.batches.append(inputs["x"].reshape(len(inputs["x"]), -1)[:, 0]
                            .tolist())
        self.busy.release()
        assert self.go_on.wait(LONG)
        return {"y": 2 * inputs["x"]}


@pytest.fixture
def make():
    made = []

    def scheduler(**options):
        options = {"max_batch_size": 4, "num_batch_threads": 1} | options
        options.setdefault("max_execution_batch_size",
                           options["max_batch_size"])
        made.append(batching.Scheduler(configs.Batching(**options)))
        return made[-1]

    yield scheduler
    for each in made:
        each.close()


def rows(*values):
    return {"x": np.array(values)}


def results(*futures):
    return [future.result(LONG)["y"].tolist() for future in futures]


def test_requests_wait_for_a_full_batch(make):
    run, scheduler = Recorder(), make(batch_timeout=LONG)
    futures = [scheduler.submit("k", run, rows(i)) for i in range(4)]
    assert results(*futures) == [[0], [2], [4], [6]]
    assert run.batches == [[0, 1, 2, 3]]


def test_a_batch_that_is_not_full_goes_when_its_time_is_up(make):
    run, scheduler = Recorder(), make(batch_timeout=0.01)
    assert results(scheduler.submit("k", run, rows(1, 2))) == [[2, 4]]
    assert run.batches == [[1, 2]]


def test_batches_grow_while_the_threads_are_busy(make):
    run, scheduler = Recorder(), make(batch_timeout=0.0)
    run.go_on.clear()
    first = scheduler.submit("k", run, rows(0))
    assert run.busy.acquire(timeout=LONG)
    more = [scheduler.submit("k", run, rows(i)) for i in (1, 2, 3)]
    run.go_on.set()
    assert results(first, *more) == [[0], [2], [4], [6]]
    assert run.batches == [[0], [1, 2, 3]]


def test_batches_are_padded_to_the_next_allowed_size_with_a_row_of_theirs(make):
    run, scheduler = Recorder(), make(
        batch_timeout=0.01, allowed_batch_sizes=(1, 4))
    run.go_on.clear()
    blocker = scheduler.submit("other", run, rows(9))
    assert run.busy.acquire(timeout=LONG)
    futures = [scheduler.submit("k", run, rows(1)),
               scheduler.submit("k", run, rows(2, 3))]
    run.go_on.set()
    assert results(blocker, *futures) == [[18], [2], [4, 6]]
    assert run.batches == [[9], [1, 2, 3, 2]]


def test_a_request_that_does_not_fit_starts_the_next_batch(make):
    run, scheduler = Recorder(), make(batch_timeout=0.01)
    run.go_on.clear()
    blocker = scheduler.submit("other", run, rows(9))
    assert run.busy.acquire(timeout=LONG)
    futures = [scheduler.submit("k", run, rows(1, 2, 3)),
               scheduler.submit("k", run, rows(4, 5))]
    run.go_on.set()
    assert results(blocker, *futures) == [[18], [2, 4, 6], [8, 10]]
    assert run.batches == [[9], [1, 2, 3], [4, 5]]


def test_large_requests_are_split_where_that_is_enabled(make):
    run, scheduler = Recorder(), make(
        max_batch_size=16, max_execution_batch_size=4, split=True,
        batch_timeout=0.01)
    run.go_on.clear()
    blocker = scheduler.submit("other", run, rows(9))
    assert run.busy.acquire(timeout=LONG)
    futures = [scheduler.submit("k", run, rows(0)),
               scheduler.submit("k", run, rows(*range(1, 10)))]
    run.go_on.set()
    assert results(blocker, *futures) == [
        [18], [0], [2 * i for i in range(1, 10)]]
    # What is free of the open batch is filled first.
    assert run.batches == [[9], [0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    with pytest.raises(status.Status, match="17 is larger .* batch size 16"):
        scheduler.submit("k", run, rows(*range(17)))


def test_a_request_larger_than_a_batch_is_refused_without_splitting(make):
    with pytest.raises(status.Status, match="Task size 5 is larger than"):
        make().submit("k", Recorder(), rows(*range(5)))


def test_other_shapes_types_and_signatures_are_never_merged(make):
    run, scheduler = Recorder(), make(batch_timeout=0.01)
    run.go_on.clear()
    blocker = scheduler.submit("other", run, rows(9))
    assert run.busy.acquire(timeout=LONG)
    futures = [scheduler.submit("k", run, {"x": np.full([1, 2], 1)}),
               scheduler.submit("k", run, {"x": np.full([1, 3], 2)}),
               scheduler.submit("k", run, {"x": np.full([1, 2], 3.0)}),
               scheduler.submit("l", run, {"x": np.full([1, 2], 4)}),
               scheduler.submit("k", run, {"x": np.full([1, 2], 5)})]
    run.go_on.set()
    assert results(blocker, *futures) == [
        [18], [[2, 2]], [[4, 4, 4]], [[6, 6]], [[8, 8]], [[10, 10]]]
    assert sorted(run.batches) == [[1, 5], [2], [3], [4], [9]]


def test_inputs_of_different_numbers_of_rows_are_refused(make):
    with pytest.raises(status.Status, match="equal 0th-dimension size"):
        make().submit("k", Recorder(), {"a": np.zeros(1), "b": np.zeros(2)})
    with pytest.raises(status.Status, match="at least one dimension"):
        make().submit("k", Recorder(), {"a": np.zeros([])})


@pytest.mark.parametrize("split", [False, True])
def test_who_comes_when_the_queue_is_full_is_told_to_come_again(make, split):
    run, scheduler = Recorder(), make(max_enqueued_batches=2, split=split,
                                      batch_timeout=0.01)
    run.go_on.clear()
    futures = [scheduler.submit("k", run, rows(0, 0, 0, 0))]
    assert run.busy.acquire(timeout=LONG)
    futures += [scheduler.submit("k", run, rows(1, 1, 1, 1)),
                scheduler.submit("k", run, rows(2, 2, 2))]
    with pytest.raises(status.Status, match="queue .* is full") as caught:
        scheduler.submit("k", run, rows(3, 3))
    assert status.HTTP[caught.value.code] == 503
    futures.append(scheduler.submit("k", run, rows(4)))  # This one fits.
    run.go_on.set()
    assert results(*futures)[-1] == [8]


def test_an_error_is_that_of_all_in_the_batch_and_of_no_other(make):
    scheduler = make(batch_timeout=0.01)

    def fails(inputs):
        raise ValueError("no")

    future = scheduler.submit("k", fails, rows(1))
    with pytest.raises(ValueError, match="no"):
        future.result(LONG)
    assert results(scheduler.submit("k", Recorder(), rows(1))) == [[2]]


def test_outputs_that_are_not_of_the_rows_are_never_handed_out(make):
    future = make().submit("k", lambda inputs: {"y": np.zeros(1)}, rows(1, 2))
    with pytest.raises(status.Status, match="without batching"):
        future.result(LONG)


def test_closing_finishes_what_waits_and_refuses_what_comes(make):
    run, scheduler = Recorder(), make(batch_timeout=LONG)
    future = scheduler.submit("k", run, rows(1))
    scheduler.close()
    assert results(future) == [[2]]
    with pytest.raises(status.Status, match="stopping"):
        scheduler.submit("k", run, rows(1))


def test_each_row_gets_its_answer_from_many_clients(make):
    scheduler = make(max_batch_size=32, max_execution_batch_size=4, split=True,
                     batch_timeout=0.001, num_batch_threads=3,
                     allowed_batch_sizes=(1, 2, 4), max_enqueued_batches=1000)
    found = {}

    def client(number):
        rng = np.random.default_rng(number)
        for i in range(50):
            x = rng.integers(0, 10**9, rng.integers(1, 10))
            y = scheduler.submit(
                "k", lambda inputs: {"y": inputs["x"] * 2}, {"x": x}).result(
                    LONG)["y"]
            found[number, i] = np.array_equal(y, 2 * x)

    threads = [threading.Thread(target=client, args=[i]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 400 and all(found.values())
