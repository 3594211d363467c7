"""The ends of processes: exit with work going on, fork, logging. Each in a process of its own."""

import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from conftest import PROMPT

BEGIN = f"""
import os, sys, threading, time
sys.path.insert(0, {str(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))!r})
import sluice
model = sluice.Model(os.environ["SLUICE_TEST_MODEL"], dram_budget="64M", context_tokens=256,
                     max_sessions=2)
session = model.session()
"""


def run(program, code=0):
    done = subprocess.run([sys.executable, "-c", BEGIN + textwrap.dedent(program)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr.decode()) == (code, ""), done
    return done.stdout.decode()


@pytest.mark.parametrize("prompt", [repr(PROMPT), "[2, 3, 4]"])
def test_exit_in_the_middle_of_a_generation(prompt):
    assert run(f"""
        generation = session.generate({prompt}, max_tokens=200)
        next(generation)
        print("bye")
    """) == "bye\n"


def test_exit_while_another_thread_works():
    assert run("""
        def work():
            while True:
                session.reset()
                session.prefill([2] * 200, progress=lambda done, total: None)
        threading.Thread(target=work, daemon=True).start()
        other = model.session()
        def more():
            for piece in other.generate("Once", max_tokens=200, on_logits=lambda x, p: None): pass
        threading.Thread(target=more, daemon=True).start()
        time.sleep(0.2)
        # What those threads then say about sessions that are closed is nobody's business.
        threading.excepthook = lambda arguments: None
        print("bye")
    """) == "bye\n"


def test_exit_with_a_reader_and_a_log():
    assert run("""
        import logging
        sluice.log_to("sluice")
        class Storage:
            def __init__(self, path):
                self.data = open(path, "rb").read()
                self.size = len(self.data)
            def read_at(self, offset, size):
                return self.data[offset:offset + size]
        other = sluice.Model(Storage(os.environ["SLUICE_TEST_MODEL"]), dram_budget="64M",
                             context_tokens=256).session()
        generation = other.generate("Once", max_tokens=200)
        next(generation)
        print("bye")
    """) == "bye\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork():
    assert run("""
        generation = session.generate("Once", max_tokens=100, ignore_eos=True)
        next(generation)
        import warnings
        warnings.simplefilter("ignore")  # Python 3.12's, about what is tested here
        child = os.fork()
        if child == 0:
            for call in (lambda: model.plan, lambda: session.decode(2), lambda: next(generation),
                         lambda: model.session()):
                try:
                    call()
                    os._exit(1)
                except sluice.BadState:
                    pass
            generation.close()
            session.close()
            del generation, session
            own = sluice.Model(os.environ["SLUICE_TEST_MODEL"], dram_budget="64M",
                               context_tokens=64)
            own.session().prefill([2, 3])
            sys.exit(7)  # with all that happens at exit
        code = os.waitpid(child, 0)[1] >> 8
        assert code == 7, code
        assert len(list(generation)) >= 99
        print("parent")
    """) == "parent\n"


def test_an_exception_ends_the_process_as_usual():
    done = subprocess.run([sys.executable, "-c", BEGIN + textwrap.dedent("""
        for piece in session.generate("Once", max_tokens=200):
            raise RuntimeError("mine")
    """)], stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1 and done.stderr.decode().endswith("RuntimeError: mine\n")


def test_without_a_library(tmp_path):
    program = "import sluice; sluice.Model('x')"
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, timeout=60,
                          env={**os.environ, "PYTHONPATH": folder,
                               "SLUICE_LIBRARY": str(tmp_path / "none.so")})
    assert b"LibraryNotFound" in done.stderr and b"SLUICE_LIBRARY" in done.stderr


def test_library_beside_the_package(tmp_path):
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    shutil.copytree(os.path.join(folder, "sluice"), tmp_path / "sluice")
    shutil.copy(os.environ["SLUICE_LIBRARY"], tmp_path / "sluice" / "libsluice.so.1")
    environment = {name: value for name, value in os.environ.items() if name != "SLUICE_LIBRARY"}
    done = subprocess.run([sys.executable, "-c", "import sluice; print(sluice.library_version())"],
                          stdout=subprocess.PIPE, timeout=60, cwd=tmp_path,
                          env={**environment, "PKG_CONFIG_PATH": "", "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0 and done.stdout.strip()


def test_logging():
    assert run("""
        import logging
        from sluice import _log
        said = []
        class Handler(logging.Handler):
            def emit(self, record):
                said.append((record.levelname, record.getMessage()))
        logger = logging.getLogger("test")
        logger.setLevel(logging.INFO)
        logger.addHandler(Handler())
        logger.propagate = False
        sluice.log_to(logger)
        _log._LOG(0, b"one 100%", None)
        _log._LOG(1, b"two", None)
        sluice.log_to(None)
        _log._LOG(1, b"three", None)
        print(said)
    """) == "[('INFO', 'one 100%'), ('WARNING', 'two')]\n"
