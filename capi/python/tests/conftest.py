"""What the tests share. From the environment, as ctest sets it:

SLUICE_LIBRARY (libsluice), SLUICE_TEST_MODEL (tales-7m.flash), SLUICE_TEST_SOURCE (the checkout),
SLUICE_TEST_INCLUDE (where sluice.h is), CC.
"""

import gc
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import sluice  # noqa: E402
from sluice import _callbacks  # noqa: E402

PROMPT = "The old woman opened the door and"


@pytest.fixture(scope="session")
def model_path():
    return os.environ["SLUICE_TEST_MODEL"]


@pytest.fixture(scope="session")
def source():
    return pathlib.Path(os.environ["SLUICE_TEST_SOURCE"])


@pytest.fixture(scope="session")
def shared_model(model_path):
    with sluice.Model(model_path, dram_budget="64M", context_tokens=256, max_sessions=3) as model:
        yield model


@pytest.fixture
def session(shared_model):
    with shared_model.session() as session:
        yield session


@pytest.fixture(scope="session")
def prompt_tokens(shared_model):
    return shared_model.tokenize(PROMPT)


@pytest.fixture(autouse=True)
def nothing_is_left_registered():
    """No test leaves a callback behind: each number given to C is forgotten in the end."""
    gc.collect()
    before = set(_callbacks._registered)
    yield
    gc.collect()
    assert set(_callbacks._registered) <= before


def greedy(session, tokens, count):
    """Token ids by prefill() and decode() alone."""
    logits = session.prefill(tokens)
    chosen = []
    for _ in range(count):
        chosen.append(int(logits.argmax()))
        logits = session.decode(chosen[-1])
    return chosen
