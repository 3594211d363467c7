"""Models: options, plans, tokens, and everywhere they can be opened from."""

import errno
import gc
import io
import os
import signal
import threading
import weakref

import numpy as np
import pytest

import sluice

from conftest import PROMPT, greedy

SMALL = {"dram_budget": "64M", "context_tokens": 128}


@pytest.fixture(scope="module")
def first_tokens(model_path):
    with sluice.Model(model_path, **SMALL) as model:
        return greedy(model.session(), model.tokenize(PROMPT), 8)


def tokens_of(model):
    with model.session() as session:
        return greedy(session, model.tokenize(PROMPT), 8)


def test_info(shared_model, model_path):
    info = shared_model.info
    assert (info.family, info.num_layers, info.d_model, info.d_ffn) == ("opt", 8, 256, 1024)
    assert info.vocab_size == 4096 and info.has_tokenizer is True and info.eos_ids == (2,)
    assert info.file_bytes == os.path.getsize(model_path)
    assert "opt" in repr(shared_model)


def test_plan(shared_model, model_path):
    plan = shared_model.plan
    assert plan.fits is True and plan.budget_bytes == 64 << 20 and plan.mode in ("sparse", "dense")
    assert plan == sluice.Model.plan_for(model_path, dram_budget="64M", context_tokens=256,
                                         max_sessions=3)
    poor = sluice.Model.plan_for(model_path, dram_budget=1 << 20)
    assert poor.fits is False and poor.floor_bytes > 1 << 20


def test_budget_below_the_floor(model_path):
    with pytest.raises(sluice.OutOfMemory, match="floor") as caught:
        sluice.Model(model_path, dram_budget="1M")
    assert isinstance(caught.value, MemoryError) and caught.value.code == 6


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        sluice.Model(tmp_path / "none.flash")
    assert isinstance(caught.value, sluice.NotFound) and "none.flash" in str(caught.value)


def test_not_a_bundle_file(tmp_path):
    path = tmp_path / "noise.flash"
    path.write_bytes(b"noise" * 10000)
    with pytest.raises(sluice.SluiceError):
        sluice.Model(path)


@pytest.mark.parametrize("options, error", [
    ({"dram_budget": "much"}, sluice.InvalidArgument),
    ({"dram_budget": -1}, sluice.InvalidArgument),
    ({"context_tokens": 1 << 32}, sluice.InvalidArgument),
    ({"context_tokens": 2.5}, TypeError),
    ({"mode": "fast"}, sluice.InvalidArgument),
    ({"disabled": ["nothing"]}, sluice.InvalidArgument),
    ({"budget": 1}, TypeError),
    ({"device_curve": "a\0b"}, ValueError),
])
def test_bad_options(model_path, options, error):
    with pytest.raises(error):
        sluice.Model(model_path, **options)


def test_sizes():
    from sluice._options import size_in_bytes

    assert [size_in_bytes(size) for size in (5, "5", "64M", "64 MiB", "1.5G", "2kb")] == [
        5, 5, 64 << 20, 64 << 20, 3 << 29, 2048]


def test_text_and_tokens(shared_model):
    text = "The fox said: \u201cna\u00efve caf\u00e9\u201d \U0001f98a, and left."
    tokens = shared_model.tokenize(text, add_special=False)
    assert tokens.dtype == np.int32 and shared_model.detokenize(tokens) == text
    assert shared_model.detokenize(tokens.tolist()) == text
    assert shared_model.tokenize("", add_special=False).size == 0
    assert shared_model.detokenize([]) == ""
    assert len(shared_model.tokenize(text)) == len(tokens) + 1  # the one that begins a text
    with pytest.raises(sluice.InvalidArgument):
        shared_model.detokenize([4096])
    for bad in ([0.5], "text"):
        with pytest.raises((TypeError, ValueError)):
            shared_model.detokenize(bad)
    with pytest.raises(sluice.InvalidArgument):
        shared_model.detokenize([1 << 40])
    with pytest.raises(sluice.InvalidArgument):
        shared_model.detokenize([[1]])


def test_closing(model_path):
    with sluice.Model(model_path, **SMALL) as model:
        session = model.session()
    assert model.closed and repr(model) == "<sluice.Model, closed>"
    model.close()
    with pytest.raises(sluice.BadState, match="closed"):
        model.plan
    assert session.prefill([2, 3]).shape == (4096,)  # keeps what it needs
    session.close()
    with pytest.raises(sluice.BadState):
        session.decode(2)


def test_dropping_closes(model_path):
    model = sluice.Model(model_path, **SMALL)
    session = model.session()
    with pytest.raises(sluice.BadState):  # max_sessions is 1
        model.session()
    del session
    gc.collect()
    model.session().close()


# ---- other places


@pytest.fixture(scope="module")
def archive(model_path, tmp_path_factory):
    """The file inside another one, at 4096 bytes."""
    path = tmp_path_factory.mktemp("archive") / "archive"
    with open(model_path, "rb") as model:
        path.write_bytes(b"x" * 4096 + model.read() + b"y" * 100)
    return path


def test_open_file_and_descriptor(model_path, first_tokens):
    with open(model_path, "rb") as file:
        assert tokens_of(sluice.Model(file, **SMALL)) == first_tokens
        model = sluice.Model(file.fileno(), **SMALL)
        assert file.tell() == 0
    assert tokens_of(model) == first_tokens  # the descriptor was duplicated


def test_part_of_a_file(archive, model_path, first_tokens):
    with open(archive, "rb") as file:
        length = os.path.getsize(model_path)
        model = sluice.Model(file, offset=4096, length=length, **SMALL)
        assert sluice.Model.plan_for(file, offset=4096, length=length, **SMALL) == model.plan
    assert tokens_of(model) == first_tokens
    with pytest.raises(sluice.InvalidArgument):
        sluice.Model(archive, offset=4096)


def test_file_in_memory(model_path, archive, first_tokens):
    with open(model_path, "rb") as file:
        assert tokens_of(sluice.Model(io.BytesIO(file.read()), **SMALL)) == first_tokens
    inner = io.BytesIO(archive.read_bytes())
    model = sluice.Model(inner, offset=4096, length=os.path.getsize(model_path), **SMALL)
    assert tokens_of(model) == first_tokens


class Storage:
    """An object store, say."""

    def __init__(self, path):
        self.data = memoryview(open(path, "rb").read())
        self.size = len(self.data)
        self.threads = set()
        self.broken = False

    def read_at(self, offset, size):
        self.threads.add(threading.get_ident())
        if self.broken:
            raise ConnectionError("the store is away")
        return self.data[offset:offset + min(size, 100_000)]  # short reads are fine


def test_object_that_reads(model_path, first_tokens):
    storage = Storage(model_path)
    # So little memory that each token has to read.
    floor = sluice.Model.plan_for(storage, context_tokens=128).floor_bytes
    model = sluice.Model(storage, dram_budget=floor, context_tokens=128)
    session = model.session()
    assert greedy(session, model.tokenize(PROMPT), 8) == first_tokens
    assert storage.threads
    # Its exception is the cause of what it led to, and nothing is lost.
    session.reset()
    storage.broken = True
    with pytest.raises(sluice.IoError) as caught:
        session.prefill(model.tokenize(PROMPT))
    assert isinstance(caught.value.__cause__, ConnectionError) and session.position == 0
    storage.broken = False
    assert greedy(session, model.tokenize(PROMPT), 8) == first_tokens


def test_object_is_released(model_path):
    storage = Storage(model_path)
    alive = weakref.ref(storage)
    model = sluice.Model(storage, **SMALL)
    session = model.session()
    del storage
    model.close()
    del model
    gc.collect()
    assert alive() is not None and session.prefill([2]).size
    session.close()
    del session
    gc.collect()
    assert alive() is None


def test_object_that_fails_at_once(model_path):
    storage = Storage(model_path)
    storage.broken = True
    with pytest.raises(sluice.IoError) as caught:
        sluice.Model(storage)
    assert isinstance(caught.value.__cause__, ConnectionError)
    with pytest.raises(sluice.IoError) as caught:
        sluice.Model.plan_for(storage)
    assert isinstance(caught.value.__cause__, ConnectionError)

    def interrupted(offset, size):
        raise KeyboardInterrupt

    storage.read_at = interrupted
    for use in (sluice.Model.plan_for, sluice.Model):
        with pytest.raises(KeyboardInterrupt):
            use(storage)
    for nothing in (object(), 1.5, None, True):
        with pytest.raises(TypeError):
            sluice.Model(nothing)


def test_cause_is_not_of_another_failure(model_path):
    """What a read that was repeated left behind explains no mistake of the caller's."""
    storage = Storage(model_path)
    read_at, failed = storage.read_at, []

    def interrupted_once(offset, size):
        if not failed:
            failed.append(True)
            raise InterruptedError(errno.EINTR, "once more")
        return read_at(offset, size)

    storage.read_at = interrupted_once
    with sluice.Model(storage, **SMALL) as model, model.session() as session:
        assert failed
        for mistake, kind in ((lambda: session.prefill([4096]), sluice.InvalidArgument),
                              (model.session, sluice.BadState),
                              (lambda: (session.cancel(), session.decode(2)), sluice.Cancelled)):
            with pytest.raises(kind) as caught:
                mistake()
            assert caught.value.__cause__ is None


def test_object_shorter_than_the_offset():
    class Short(Storage):
        def __init__(self):
            self.size = 10

    for short in (io.BytesIO(b"0123456789"), Short()):
        for use in (sluice.Model, sluice.Model.plan_for):
            with pytest.raises(sluice.InvalidArgument, match="behind the offset is -1;"):
                use(short, offset=11)


@pytest.fixture
def closed_models(monkeypatch):
    """Handles of models as they are opened and closed: those that leak are what is left."""
    from sluice._library import library

    real_open, real_close = library().sluice_source_open, library().sluice_model_close
    held = set()
    after = []  # called when one has opened

    def opens(source, options, out, *more):
        status = real_open(source, options, out, *more)
        if status == 0:
            held.add(out._obj.value)
            for call in after:
                call(*more)
        return status

    def closes(handle):
        real_close(handle)
        held.discard(getattr(handle, "value", handle))

    monkeypatch.setattr(library(), "sluice_source_open", opens)
    monkeypatch.setattr(library(), "sluice_model_close", closes)
    return held, after


@pytest.mark.parametrize("of", ["path", "reader"])
def test_control_c_when_it_has_opened(model_path, closed_models, of):
    """Too late to stop it: nothing of the model is left all the same."""
    held, after = closed_models
    after.append(lambda *_: signal.raise_signal(signal.SIGINT))
    source = model_path if of == "path" else Storage(model_path)
    with pytest.raises(KeyboardInterrupt):
        sluice.Model(source, **SMALL)
    assert not held


@pytest.mark.parametrize("error", [sluice.BadState("mine"), LookupError("mine")])
def test_exception_of_progress_when_it_has_opened(model_path, closed_models, error):
    held, after = closed_models
    after.append(lambda function, number: function(b"read", 1.0, number))
    storage = Storage(model_path)
    alive = weakref.ref(storage)

    def progress(stage, done):
        if held:
            raise error

    with pytest.raises(type(error), match="mine"):
        sluice.Model(storage, progress=progress, **SMALL)
    assert not held
    del storage
    error.__traceback__ = None
    gc.collect()
    assert alive() is None


def test_progress_of_opening(model_path):
    calls = []
    sluice.Model(model_path, progress=lambda *call: calls.append(call), **SMALL).close()
    assert calls and all(0 <= done <= 1 for _, done in calls)

    def refuse(stage, done):
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        sluice.Model(model_path, progress=refuse, **SMALL)
