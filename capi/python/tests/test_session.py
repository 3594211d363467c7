"""Sessions: tokens in, logits out, back and forth in time."""

import signal
import threading
import time

import numpy as np
import pytest

import sluice

from conftest import greedy


def test_prefill_and_decode(session, prompt_tokens):
    logits = session.prefill(prompt_tokens)
    assert logits.dtype == np.float32 and logits.shape == (4096,)
    assert session.position == len(prompt_tokens)
    np.testing.assert_array_equal(session.tokens, prompt_tokens)
    session.reset()
    assert session.position == 0 and session.tokens.size == 0
    # One by one, from any sequence of integers; bits do not depend on it.
    for token in prompt_tokens.astype(np.int64).tolist():
        last = session.decode(token)
    np.testing.assert_array_equal(last, logits)


def test_out(session, prompt_tokens):
    out = np.empty(4096, dtype=np.float32)
    assert session.prefill(prompt_tokens, out=out) is out
    assert session.decode(5, out=out) is out
    for bad in (np.empty(4095, np.float32), np.empty(4096), np.empty(8192, np.float32)[::2],
                np.broadcast_to(np.float32(0), 4096)):
        with pytest.raises(sluice.InvalidArgument):
            session.decode(5, out=bad)


@pytest.mark.parametrize("tokens", [[], [-1], [4096], [1 << 33], [[1, 2]]])
def test_bad_tokens(session, tokens):
    with pytest.raises(sluice.InvalidArgument):
        session.prefill(tokens)
    assert session.position == 0


def test_context_is_full(session):
    session.prefill([2] * 256)
    with pytest.raises(sluice.InvalidArgument, match="context"):
        session.decode(2)
    assert session.position == 256


def test_rewind(session, prompt_tokens):
    first = greedy(session, prompt_tokens, 6)
    session.rewind(len(prompt_tokens) - 1)
    assert session.position == len(prompt_tokens) - 1
    assert greedy(session, prompt_tokens[-1:], 6) == first
    with pytest.raises(sluice.InvalidArgument):
        session.rewind(250)


def test_clone(shared_model, session, prompt_tokens):
    session.prefill(prompt_tokens[:-1])
    with session.clone() as clone:
        assert greedy(clone, prompt_tokens[-1:], 6) == greedy(session, prompt_tokens[-1:], 6)
        assert clone.model is shared_model
        shared_model.session().close()
        with shared_model.session(), pytest.raises(sluice.BadState):  # the third
            session.clone()


def test_save_and_load(session, prompt_tokens, tmp_path):
    session.prefill(prompt_tokens[:-1])
    session.save(tmp_path / "state")
    first = greedy(session, prompt_tokens[-1:], 6)
    session.reset()
    session.load(tmp_path / "state")
    np.testing.assert_array_equal(session.tokens, prompt_tokens[:-1])
    assert greedy(session, prompt_tokens[-1:], 6) == first
    with pytest.raises(FileNotFoundError):
        session.load(tmp_path / "none")
    damaged = bytearray((tmp_path / "state").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    position = session.position
    with pytest.raises(sluice.Corrupt):
        session.load(tmp_path / "damaged")
    assert session.position == position


def test_stats(session, prompt_tokens):
    greedy(session, prompt_tokens, 4)
    stats = session.stats
    assert stats.tokens == 4 and stats.prefill_tokens == len(prompt_tokens)
    assert stats.total_ms_per_token > 0 and stats.engine in ("uring", "pread")
    session.reset_stats()
    assert session.stats.tokens == 0


def test_progress(session):
    calls = []
    session.prefill([2] * 100, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (100, 100) and len(calls) >= 8

    def refuse(done, total):
        if done > 10:
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        session.prefill([2] * 100, progress=refuse)
    assert session.position == 100
    assert session.decode(2).size  # that was all


def test_cancel_from_another_thread(session):
    begun = threading.Event()

    def progress(done, total):
        begun.set()
        time.sleep(0.02)

    canceller = threading.Thread(target=lambda: (begun.wait(), session.cancel()))
    canceller.start()
    with pytest.raises(sluice.Cancelled):
        session.prefill([2] * 250, progress=progress)
    canceller.join()
    assert session.position == 0
    session.decode(2)


def test_one_call_at_a_time(session):
    refused = []

    def refuses(*calls):
        for call in calls:
            with pytest.raises(sluice.BadState):
                call()
            refused.append(call)

    def progress(done, total):
        if not refused:
            refuses(lambda: session.decode(2), session.reset)
            other = threading.Thread(target=refuses, args=(lambda: session.stats, session.reset))
            other.start()
            other.join()
            # These a callback may have.
            assert session.position == 0 and session.stats.tokens == 0

    session.prefill([2] * 8, progress=progress)
    assert len(refused) == 4 and session.position == 8


def test_control_c(session):
    def progress(done, total):
        if not called:
            called.append(True)
            signal.raise_signal(signal.SIGINT)

    called = []
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        session.prefill([2] * 200, progress=progress)
    assert signal.getsignal(signal.SIGINT) is handler and session.position == 0

    # And from outside, with no callback of ours.
    def send():
        time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    for _ in range(3):
        sender = threading.Thread(target=send)
        sender.start()
        with pytest.raises(KeyboardInterrupt):
            for _ in range(1000):
                session.reset()
                session.prefill([2] * 250)
        sender.join()


def test_threads_run_beside_each_other(shared_model, prompt_tokens):
    with shared_model.session() as alone:
        expected = greedy(alone, prompt_tokens, 16)
    results = []

    def work():
        with shared_model.session() as mine:
            results.append(greedy(mine, prompt_tokens, 16))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 3
