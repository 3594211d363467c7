"""Generated text: for and async for, and every way to leave them."""

import asyncio
import gc
import os
import threading
import time
import weakref

import numpy as np
import pytest

import sluice
from sluice import generation as generation_module

from conftest import PROMPT, greedy


@pytest.fixture(scope="module")
def expected(shared_model, prompt_tokens):
    with shared_model.session() as session:
        return greedy(session, prompt_tokens, 24)


def test_for(shared_model, session, expected):
    generation = session.generate(PROMPT, max_tokens=24)
    pieces = list(generation)
    assert [piece.token for piece in pieces if piece.token is not None] == expected
    assert "".join(piece.text for piece in pieces) == shared_model.detokenize(expected)
    assert generation.finish_reason == "length"
    assert pieces[0].logprob is None and pieces[0].top_logprobs == ()
    assert next(generation, None) is None


def test_from_tokens(session, prompt_tokens, expected):
    pieces = list(session.generate(prompt_tokens, max_tokens=24))
    assert [piece.token for piece in pieces if piece.token is not None] == expected
    with pytest.raises(sluice.InvalidArgument):
        list(session.generate([4096]))


def test_break_leaves_what_was_seen(session, prompt_tokens, expected):
    for count in (1, 5):
        session.reset()
        seen = []
        for piece in session.generate(PROMPT, max_tokens=24):
            seen.append(piece.token)
            if len(seen) == count:
                break
        # At once, and every time the same: not further than the loop, for all the library's haste.
        assert seen == expected[:count]
        assert session.position == len(prompt_tokens) + count - 1
        rest = [piece.token for piece in session.generate("", max_tokens=24 - count,
                                                          add_special=False)]
        assert seen + [token for token in rest if token is not None] == expected


def test_it_waits_for_its_reader(session, expected):
    positions = []

    def watch(logits, position):
        positions.append(position)

    generation = session.generate(PROMPT, max_tokens=10, on_logits=watch)
    next(generation)
    time.sleep(0.1)
    assert len(positions) == 1
    assert len(list(generation)) >= 9 and positions == list(range(positions[0], positions[0] + 10))


def test_close_and_busy(session):
    with session.generate(PROMPT, max_tokens=100) as generation:
        next(generation)
        for call in (lambda: session.decode(2), lambda: session.generate("more"),
                     lambda: session.generate([2])):
            with pytest.raises(sluice.BadState):
                call()
    assert generation.finish_reason == "cancelled" and list(generation) == []
    generation.close()
    session.decode(2)


@pytest.mark.parametrize("prompt", [PROMPT, [2, 3]])
def test_busy_from_the_beginning(session, prompt):
    generation = session.generate(prompt, max_tokens=2)
    for call in (lambda: session.decode(2), lambda: session.prefill([2]), session.reset,
                 lambda: session.rewind(0), session.clone, session.reset_stats,
                 lambda: session.save("none/none"), lambda: session.load("none"),
                 lambda: session.tokens, lambda: session.generate(prompt), lambda: session.stats):
        with pytest.raises(sluice.BadState):
            call()
    assert session.position == 0
    assert len([piece for piece in generation if piece.token is not None]) == 2
    session.decode(2)


def test_collected_by_its_own_thread(session):
    """Garbage is collected wherever memory is taken, locks of ours held or not."""
    generation = session.generate(PROMPT, max_tokens=100)
    next(generation)
    run = generation._run
    generation.cycle = generation
    del generation

    def collect():
        with run._lock:
            gc.collect()

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive() and run.stopped
    session.reset()


def test_close_during_prefill(session):
    begin = time.monotonic()
    words = "the " * 200
    for _ in range(5):
        for prompt, count in (([2] * 200, 200), (words, len(session.model.tokenize(words)))):
            session.reset()
            session.generate(prompt, max_tokens=1).close()
            assert session.position in (0, count)  # all of the prompt or nothing
    assert time.monotonic() - begin < 20


def test_dropped(session):
    for prompt in (PROMPT, [2, 3]):
        generation = session.generate(prompt, max_tokens=100)
        next(generation)
        del generation
        session.reset()  # waits for the end of it
        generation = session.generate(prompt, max_tokens=100)
        del generation
        session.reset()


def test_session_closed_in_the_loop(shared_model):
    session = shared_model.session()
    generation = session.generate(PROMPT, max_tokens=100)
    next(generation)
    session.close()
    assert list(generation) == [] and generation.finish_reason == "cancelled"


def test_session_closed_by_two_at_once(shared_model, monkeypatch):
    session = shared_model.session()
    generation = session.generate(PROMPT, max_tokens=100)
    next(generation)
    getpid, others = os.getpid, []

    def other_is_faster():
        if not others:
            others.append(threading.Thread(target=session.close))
            others[0].start()
            others[0].join()
        return getpid()

    monkeypatch.setattr(os, "getpid", other_is_faster)
    session.close()
    monkeypatch.undo()
    assert others and session.closed and list(generation) == []


def test_cancel(session, expected):
    generation = session.generate(PROMPT, max_tokens=100)
    seen = [next(generation).token]
    session.cancel()
    assert list(generation) == [] and generation.finish_reason == "cancelled"
    # Meant for that one alone.
    session.reset()
    assert next(session.generate(PROMPT)).token == seen[0] == expected[0]


def test_cancel_while_it_computes(session):
    begun = threading.Event()

    def slow(logits, position):
        begun.set()
        time.sleep(0.05)

    generation = session.generate(PROMPT, max_tokens=100, on_logits=slow)
    canceller = threading.Thread(target=lambda: (begun.wait(), session.cancel()))
    canceller.start()
    assert len(list(generation)) <= 1 and generation.finish_reason == "cancelled"
    canceller.join()


@pytest.fixture
def cancel_too_late(session, monkeypatch):
    """Generates to the end, and cancels between that and the news of it."""
    on_done = generation_module.Run.on_done
    ended = threading.Event()

    def late(run, *arguments):
        ended.set()
        time.sleep(0.2)
        on_done(run, *arguments)

    monkeypatch.setattr(generation_module.Run, "on_done", late)

    def generate(prompt, count):
        canceller = threading.Thread(target=lambda: (ended.wait(), session.cancel()))
        generation = session.generate(prompt, max_tokens=count)
        canceller.start()
        tokens = [piece.token for piece in generation if piece.token is not None]
        canceller.join()
        assert len(tokens) == count and generation._run.cancelled
        return tokens

    return generate


def test_cancel_that_comes_too_late(session, expected, cancel_too_late):
    """The generation has just ended by itself: the next call must not pay for it."""
    assert cancel_too_late(PROMPT, 2) == expected[:2]
    position = session.position
    session.decode(2)
    assert session.position == position + 1


def test_cancel_that_comes_too_late_when_the_context_is_full(session, cancel_too_late):
    cancel_too_late([2] * 250, 7)
    assert session.position == 256
    for _ in range(2):
        with pytest.raises(sluice.InvalidArgument, match="context"):
            session.decode(2)
    session.rewind(100)
    session.decode(2)
    assert session.position == 101


def test_bad_arguments(session):
    for bad in ({"temperature": -1.0}, {"top_p": 2.0}, {"max_tokens": 1000}, {"top_logprobs": 257},
                {"max_tokens": -1}):
        with pytest.raises(sluice.InvalidArgument):
            list(session.generate(PROMPT, **bad))
    with pytest.raises(ValueError):
        session.generate(PROMPT, stop="a\0")
    assert session.position == 0


def test_stop_and_sampling(shared_model, session, expected):
    text = shared_model.detokenize(expected)
    stop = text[20:26]
    got = "".join(piece.text for piece in session.generate(PROMPT, stop=["never", stop]))
    assert got == text[:text.index(stop)]
    texts = set()
    for seed in (1, 2, 1):
        session.reset()
        texts.add("".join(piece.text for piece in session.generate(
            PROMPT, max_tokens=30, temperature=0.8, top_p=0.95, top_k=50, seed=seed)))
    assert len(texts) == 2


def test_whole_prompt(session, expected):
    session.prefill([9, 8, 7])
    for _ in range(2):
        pieces = list(session.generate(PROMPT, max_tokens=24, whole_prompt=True))
        assert [piece.token for piece in pieces if piece.token is not None] == expected
    assert session.stats.reused_tokens > 0


def test_logits_processor(session, expected):
    kept = []

    def forbid(logits, position):
        assert logits.dtype == np.float32 and logits.shape == (4096,)
        kept.append(logits)
        logits[expected[0]] = -np.inf

    assert expected[0] not in [p.token for p in session.generate(PROMPT, max_tokens=8,
                                                                 on_logits=forbid)]
    assert np.isneginf(kept[0][expected[0]])  # still ours

    def other(logits, position):
        result = np.zeros_like(logits)
        result[77] = 1
        return result

    session.reset()
    assert [p.token for p in session.generate(PROMPT, max_tokens=3, on_logits=other)
            if p.token is not None] == [77] * 3


@pytest.mark.parametrize("prompt", [PROMPT, [2, 3, 4]])
def test_exception_of_a_processor(session, prompt):
    def refuse(logits, position):
        if position > 12:
            raise ZeroDivisionError("mine")

    seen = []
    with pytest.raises(ZeroDivisionError, match="mine"):
        for piece in session.generate(prompt, max_tokens=30, on_logits=refuse):
            seen.append(piece)
    assert seen
    session.decode(2)


def test_logprobs(session, prompt_tokens):
    logits = session.prefill(prompt_tokens).astype(np.float64)
    logprobs = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
    best = np.argsort(-logprobs)[:3]
    session.reset()
    piece = next(session.generate(PROMPT, top_logprobs=3))
    assert [top.token for top in piece.top_logprobs] == best.tolist()
    np.testing.assert_allclose([top.logprob for top in piece.top_logprobs], logprobs[best],
                               atol=1e-4)
    assert piece.token == best[0] and piece.logprob == piece.top_logprobs[0].logprob


def test_nothing_keeps_callbacks_alive(session):
    class Processor:
        def __call__(self, logits, position):
            pass

    for finish in (list, next, lambda generation: None):
        processor = Processor()
        alive = weakref.ref(processor)
        generation = session.generate(PROMPT, max_tokens=3, on_logits=processor)
        del processor
        finish(generation)
        gc.disable()  # by reference counts alone: there are no cycles
        try:
            del generation
            session.reset()
            deadline = time.monotonic() + 5  # the library's thread may be leaving on_done()
            while alive() is not None and time.monotonic() < deadline:
                time.sleep(0.001)
            assert alive() is None
        finally:
            gc.enable()


# ---- asyncio


def test_async_for(session, expected):
    async def main():
        tokens, ticks = [], 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticker = asyncio.ensure_future(tick())
        async for piece in session.generate(PROMPT, max_tokens=24):
            tokens.append(piece.token)
        ticker.cancel()
        return tokens, ticks

    tokens, ticks = asyncio.run(main())
    assert [token for token in tokens if token is not None] == expected
    assert ticks > 24  # the loop was not held up


def test_async_many(shared_model, expected):
    async def one():
        with shared_model.session() as session:
            async with session.generate(PROMPT, max_tokens=24) as generation:
                return [piece.token async for piece in generation if piece.token is not None]

    async def main():
        return await asyncio.gather(*(one() for _ in range(3)))

    assert asyncio.run(main()) == [expected] * 3


def test_async_break_and_close(session, expected):
    async def main():
        async with session.generate(PROMPT, max_tokens=100) as generation:
            async for piece in generation:
                break
        assert generation.finish_reason == "cancelled"
        session.reset()
        async for piece in session.generate(PROMPT, max_tokens=100):
            return piece.token

    assert asyncio.run(main()) == expected[0]
    session.reset()


def test_async_timeout(session, expected):
    def slow(logits, position):
        time.sleep(0.05)

    async def main():
        generation = session.generate(PROMPT, max_tokens=10, on_logits=slow)
        tokens = []

        async def read():
            async for piece in generation:
                tokens.append(piece.token)

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(read(), 0.12)
        # Nothing is lost by it.
        async for piece in generation:
            tokens.append(piece.token)
        return tokens

    assert [token for token in asyncio.run(main()) if token is not None] == expected[:10]
    assert session.generate(PROMPT, max_tokens=2)


def test_async_exception(session):
    def refuse(logits, position):
        raise ZeroDivisionError("mine")

    async def main():
        async for _ in session.generate(PROMPT, on_logits=refuse):
            pass

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
