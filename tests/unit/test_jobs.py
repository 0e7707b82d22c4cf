"""The graph of jobs and the pool of workers, on workers that are threads and die when they are told to."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import pytest

from bench.errors import BadValue
from bench.records.at_work import AtWork, Driver, drivers, note
from bench.runner.jobs import Failed, Job, play
from bench.runner.pool import Errand, Pool, WorkerLost
from bench.runner.wire import Answered, Lacks, Message, Raised, packed, unpacked


class Gone(Exception):
    """A thread that is no more."""


class ThreadSeat:
    """A worker that doubles numbers; it dies at those that are deadly, as often as they say."""

    def __init__(self, engine, name):
        self.name, self._engine, self._has = name, engine, set()

    def ask(self, message):
        future: Future[bytes] = Future()
        threading.Thread(target=self._answer, args=(unpacked(message), future), daemon=True).start()
        return future

    def _answer(self, message: Message, future):
        self._has |= set(message.contents)
        if not message.key:
            if self._engine.stillborn:
                future.set_exception(Gone())
            else:
                future.set_result(packed(Answered(self.name)))
            return
        if message.key not in self._has:
            future.set_result(packed(Lacks((message.key,))))
            return
        number = unpacked(message.task)
        if self._engine.deadly.get(number, 0) > 0:
            self._engine.deadly[number] -= 1
            future.set_exception(Gone())
            return
        time.sleep(0.01)
        answer = (
            Raised(BadValue("odd"), "here") if number == 13 else Answered(self.name, packed(2 * number), 0.01)
        )
        self._engine.computed.append(number)
        future.set_result(packed(answer))

    def lost(self, error):
        return "went" if isinstance(error, Gone) else None

    def end(self):
        self._engine.ended.append(self.name)


class ThreadEngine:
    name = "threads"

    def __init__(self, seats, deadly=(), stillborn=False):
        self.seats, self.deadly, self.stillborn = seats, dict(deadly), stillborn
        self.computed, self.ended, self.closed = [], [], False

    def seat(self, place):
        return ThreadSeat(self, f"thread {place + 1}")

    def close(self):
        self.closed = True


def errand(said, rest=lambda task, result: None):
    return Errand("key", {"key": lambda: b"work"}, rest, lambda task, why: (task, why), said.append)


@pytest.mark.parametrize("seats", [1, 2, 5])
def test_every_task_is_computed_once_by_no_more_workers_than_there_are_seats(seats):
    engine = ThreadEngine(seats)
    with Pool(engine) as pool:
        assert sorted(pool.play(errand([]), range(12))) == [2 * number for number in range(12)]
        assert 1 <= len(pool.posts) <= seats
        assert "12 answers of" in pool.told()
    assert sorted(engine.computed) == list(range(12)) and engine.closed
    assert len(engine.ended) == len(set(engine.ended)) >= 1


def test_what_is_left_of_a_task_goes_on_from_its_result():
    with Pool(ThreadEngine(2)) as pool:
        found = list(pool.play(errand([], lambda task, result: result if result < 20 else None), [1, 3]))
    assert sorted(found) == sorted([2, 4, 8, 16, 32, 6, 12, 24])


@pytest.mark.parametrize("times", [1, 3])
def test_a_lost_worker_s_task_is_handed_on_three_times_at_most(times):
    said = []
    with Pool(ThreadEngine(2, {7: times})) as pool:
        assert sorted(pool.play(errand(said), range(9))) == [2 * number for number in range(9)]
    assert len(said) == times and all("went at 7: it is handed to another" in line for line in said)


def test_a_task_that_costs_four_workers_is_given_up_and_no_other():
    said = []
    engine = ThreadEngine(2, {7: 99})
    with Pool(engine) as pool:
        found = list(pool.play(errand(said), range(9)))
    ((task, why),) = [one for one in found if isinstance(one, tuple)]
    assert task == 7 and "4 workers were lost at 7" in why
    assert sorted(one for one in found if not isinstance(one, tuple)) == [2 * n for n in range(9) if n != 7]
    assert engine.deadly[7] == 95


def test_workers_that_never_start_are_a_sentence():
    with Pool(ThreadEngine(2, stillborn=True)) as pool, pytest.raises(WorkerLost, match="before it could do"):
        list(pool.play(errand([]), [1]))


def test_an_error_in_a_worker_is_the_caller_s_and_says_where_it_came_from():
    with Pool(ThreadEngine(1)) as pool, pytest.raises(BadValue, match="odd") as raised:
        list(pool.play(errand([]), [13]))
    assert "thread 1 (thread 1):\nhere" in str(raised.value.__cause__)


def jobs_on(pool, done, names="abcdef"):
    """a and b; c needs a; d needs c and comes after b; e needs b; f alone. b fails, and g is odd."""
    needs = {"c": ("a",), "d": ("c",), "e": ("b",)}
    after = {"d": ("b",)}

    def do(name):
        if name == "b":
            raise BadValue("b cannot be")
        held = list(pool.play(errand([]), [ord(name)])) if pool else [2 * ord(name)]
        done.append(name)
        return held[0]

    return [Job(n, n, lambda n=n: do(n), needs.get(n, ()), after.get(n, ())) for n in names]


@pytest.mark.parametrize("seats", [0, 1, 3])
def test_a_job_begins_after_what_it_needs_and_fails_with_it_alone(seats):
    done, pool = [], Pool(ThreadEngine(seats)) if seats else None
    found = {job.id: what for job, what in play(jobs_on(pool, done), pool, lambda job: None)}
    assert {name for name, what in found.items() if isinstance(what, Failed)} == {"b", "e"}
    assert found["e"].why == found["b"].why == "b cannot be"
    assert {name: what for name, what in found.items() if name in "acdf"} == {n: 2 * ord(n) for n in "acdf"}
    assert done.index("a") < done.index("c") < done.index("d")
    if pool:
        pool.close()


def test_jobs_wait_for_workers_at_once_and_one_thread_does_the_driver_s_work():
    """Each of four jobs waits twice; no two are ever in the driver's part together."""
    inside, most, waiting = [], [], []
    pool = Pool(ThreadEngine(4))

    def do(name):
        def work():
            for number in range(2):
                inside.append(name)
                most.append(len(inside))
                time.sleep(0.005)
                inside.remove(name)
                waiting.append(name)
                list(pool.play(errand([]), [number]))
            return name

        return work

    found = [what for _, what in play([Job(n, n, do(n)) for n in "wxyz"], pool, lambda job: None)]
    pool.close()
    assert sorted(found) == list("wxyz") and max(most) == 1
    assert len(set(waiting[:4])) > 1, "they take turns"


def test_what_ends_a_process_ends_the_graph_and_its_workers():
    engine = ThreadEngine(2)
    pool = Pool(engine)

    def interrupted():
        raise KeyboardInterrupt

    jobs = [Job("a", "a", lambda: list(pool.play(errand([]), range(500)))), Job("b", "b", interrupted)]
    with pytest.raises(KeyboardInterrupt):
        list(play(jobs, pool, lambda job: None))
    assert engine.closed and len(engine.computed) < 500


def test_what_workers_do_is_noted_in_the_store_and_taken_away(tmp_path, bench):
    with Pool(ThreadEngine(2), tmp_path) as pool:
        waiting = pool.play(errand([]), range(14, 200))
        for _ in waiting:
            pool._noted = 0.0
            (driver,) = drivers(tmp_path)
            if driver.workers:
                break
        assert (driver.engine, driver.is_there) == ("threads", True)
        assert {worker.name for worker in driver.workers} <= {f"thread {n} (thread {n})" for n in (1, 2)}
        told = bench("jobs", "--store", tmp_path)
        assert told.code == 0 and "--on threads: process" in told.out and "thread 1" in told.out
        (row,) = json.loads(bench("jobs", "--store", tmp_path, "--json").out)
        assert row["is_there"] and row["workers"]
        list(waiting)
    assert list(drivers(tmp_path)) == [] and not list(tmp_path.iterdir())
    assert bench("jobs", "--store", tmp_path).out == f"no workers are at work in {tmp_path}\n"


def test_a_driver_that_was_killed_is_told_as_gone(tmp_path, bench):
    process = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    note(
        tmp_path,
        Driver("local:2", int(process.stdout), socket.gethostname(), "today", (AtWork("w", "", 3, 1.5),)),
    )
    told = bench("jobs", "--store", tmp_path).out
    assert "it is gone, and its command goes on from there" in told and "w: idle (3 answers" in told
    with Pool(ThreadEngine(1), tmp_path):
        assert not list(drivers(tmp_path)), "the command that goes on takes the note away"
