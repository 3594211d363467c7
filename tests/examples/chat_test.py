#!/usr/bin/env python3
"""Plays a user of the chat program, at a pseudo-terminal and through pipes.

usage: chat_test.py CHAT MODEL
"""
import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

from screen import Screen, without_statistics

CHAT, MODEL = sys.argv[1], sys.argv[2]
LINE = "The old woman opened the door and"
SECOND = "She said that"
GREEDY = ("--temperature", "0", "--context", "256", "--dram-budget", "20M")
# Sanitizers and busy machines are slow; a hang is what these are to find.
PATIENCE_S = 60
SHELL_PROMPT = "[stopped]$ "


def piped(lines, *args, code=0):
    """The answers of a run without a terminal, and what stderr got."""
    done = subprocess.run([CHAT, MODEL, *GREEDY, *args], input="".join(lines).encode(),
                          capture_output=True, timeout=PATIENCE_S)
    if done.returncode != code:
        raise AssertionError(f"exit status {done.returncode}: {done.stderr!r}")
    return done.stdout.decode(), done.stderr.decode()


def shell(argv):
    """Runs a program in the foreground as a shell does that knows jobs: when it stops, the terminal
    is ours, and any line continues it. Returns its status."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a shell may give the terminal away
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execv(argv[0], argv)
    while True:
        _, status = os.waitpid(job, os.WUNTRACED)
        os.tcsetpgrp(0, os.getpgrp())
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        os.write(1, SHELL_PROMPT.encode())
        os.read(0, 100)
        os.tcsetpgrp(0, job)
        os.killpg(job, signal.SIGCONT)


class Terminal:
    """The program at a pseudo-terminal; its own session, or a job of a shell's."""

    def __init__(self, *args, rows=12, columns=80, term="xterm", in_shell=False):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = term
            # The size is there before the program looks.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
            argv = [CHAT, MODEL, *GREEDY, *args]
            if in_shell:
                os._exit(shell(argv))
            os.execv(CHAT, argv)
        self.screen = Screen(rows, columns)
        self.pieces = []
        self.status = None
        self.wait_for(lambda: self.tail().endswith("> "))
        self.attributes = termios.tcgetattr(self.fd)

    def output(self):
        return b"".join(self.pieces)

    def tail(self):
        return without_statistics(self.output())[-400:].decode(errors="replace")

    def read(self, timeout):
        """What has come, and whether there may be more."""
        if not select.select([self.fd], [], [], timeout)[0]:
            return b"", True
        try:
            piece = os.read(self.fd, 65536)
        except OSError:  # the other side is closed
            piece = b""
        if piece:
            self.pieces.append(piece)
            self.screen.feed(piece)
        return piece, bool(piece)

    def wait_for(self, condition, seconds=PATIENCE_S):
        end = time.monotonic() + seconds
        while not condition():
            _, more = self.read(0.05)
            if time.monotonic() > end or (not more and not condition()):
                raise AssertionError(f"waited in vain; the end: {self.tail()!r}")

    def send(self, text):
        os.write(self.fd, text.encode())

    def say(self, line):
        """Types a line, waits for the next prompt; what came between."""
        start = len(self.output())
        self.send(line + "\n")
        answer = lambda: without_statistics(self.output()[start:]).decode(errors="replace")
        self.wait_for(lambda: answer().endswith("\r\n> "))
        return answer().replace("\r\n", "\n").removeprefix(line + "\n").removesuffix("\n> ")

    def answer(self, line):
        """Just the model's text; the line of statistics behind it is there."""
        text, _, statistics = self.say(line).rpartition("\n")
        if "tokens/s" not in statistics or "peak RSS" not in statistics:
            raise AssertionError(f"no statistics: {statistics!r}")
        return text

    def wait_status(self):
        """Of the program's end, as os.waitstatus_to_exitcode() has it."""
        end = time.monotonic() + PATIENCE_S
        while self.status is None and time.monotonic() < end:
            self.read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


class ChatTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sluice-test-", dir=os.getcwd())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def terminal(self, *args, **kw):
        terminal = Terminal(*args, **kw)
        self.addCleanup(terminal.close)
        return terminal

    def ends_well(self, terminal):
        """Status 0, and the terminal as it was: attributes, and the whole screen scrolls."""
        self.assertEqual(terminal.wait_status(), 0)
        self.as_before(terminal)

    def as_before(self, terminal):
        self.assertEqual(termios.tcgetattr(terminal.fd), terminal.attributes)
        self.assertEqual((terminal.screen.top, terminal.screen.bottom),
                         (0, terminal.screen.rows - 1))


class AtATerminal(ChatTest):
    def test_streams_beside_its_statistics(self):
        expected, _ = piped([LINE + "\n"], "--max-tokens", "150")
        terminal = self.terminal("--max-tokens", "150")
        begun = len(terminal.pieces)
        live, grew = set(), 0
        terminal.send(LINE + "\n")
        shown = 0
        while not terminal.tail().endswith("]\r\n> "):
            terminal.wait_for(lambda: len(terminal.pieces) > begun)
            begun = len(terminal.pieces)
            now = len(without_statistics(terminal.output()))
            grew, shown = grew + (now > shown), now
            if terminal.screen.bottom == terminal.screen.rows - 2:
                live.add(terminal.screen.lines[-1])
                # The text above, whole as far as it goes.
                above = terminal.screen.text(-1).partition(LINE + "\n")[2]
                self.assertTrue(expected.startswith(above), above)
        self.assertGreater(grew, 5, "the answer came in one piece")
        self.assertTrue(any("tokens/s" in line and "read/token" in line and
                            "hits" in line and "peak RSS" in line for line in live), live)
        self.assertGreater(len(live), 1, "the statistics stood still")
        text = terminal.screen.text().partition(LINE + "\n")[2]
        self.assertTrue(text.startswith(expected + "["), text)
        self.assertEqual(text.count("tokens/s"), 1, text)
        terminal.send("\x04")
        self.ends_well(terminal)

    def test_interrupt_stops_the_answer_alone(self):
        terminal = self.terminal("--max-tokens", "240")
        expected, _ = piped([LINE + "\n"], "--max-tokens", "240")
        start = len(terminal.output())
        terminal.send(LINE + "\n")
        text = lambda: without_statistics(terminal.output()[start:]).decode()
        terminal.wait_for(lambda: len(text()) > len(LINE) + 10)
        pressed = time.monotonic()
        terminal.send("\x03")
        terminal.wait_for(lambda: "(stopped)" in text())
        self.assertLess(time.monotonic() - pressed, 5)
        terminal.wait_for(lambda: text().endswith("> "))
        part = text().replace("\r\n", "\n").partition(LINE + "\n")[2].partition("\n(stopped)")[0]
        self.assertTrue(expected.startswith(part), part)
        # It goes on, with the next token; the newline may have been the text's own.
        more = terminal.answer("")[:40]
        self.assertTrue(expected.startswith((part + more, part + "\n" + more)), part + more)
        terminal.send("\x04")
        self.ends_well(terminal)

    def test_interrupt_at_the_prompt(self):
        terminal = self.terminal("--max-tokens", "8")
        expected, _ = piped([LINE + "\n"], "--max-tokens", "8")
        terminal.send("nobody should read this")
        terminal.wait_for(lambda: "read this" in terminal.tail())
        terminal.send("\x03")
        terminal.wait_for(lambda: terminal.tail().endswith("leaves)\r\n> "))
        self.assertEqual(terminal.answer(LINE) + "\n", expected)
        terminal.send("\x03")
        terminal.wait_for(lambda: terminal.tail().endswith("leaves)\r\n> "))
        terminal.send("\x03")
        self.ends_well(terminal)

    def test_save_load_rewind(self):
        file = os.path.join(self.folder, "talk.session")
        terminal = self.terminal("--max-tokens", "12")
        first = terminal.answer(LINE)
        self.assertIn("saved: ", terminal.say("/save " + file))
        second = terminal.answer(SECOND)
        self.assertIn("back at ", terminal.say("/rewind"))
        self.assertEqual(terminal.answer(SECOND), second)
        self.assertIn("loaded: ", terminal.say("/load " + file))
        self.assertEqual(terminal.answer(SECOND), second)
        self.assertIn("back here: 1;", terminal.say("/rewind 2"))
        # Back to where the file was loaded, then to the beginning.
        terminal.say("/rewind")
        self.assertEqual(terminal.answer(SECOND), second)
        terminal.say("/reset")
        self.assertEqual(terminal.answer(LINE), first)
        terminal.answer(SECOND)
        terminal.say("/rewind 2")
        self.assertEqual(terminal.answer(LINE), first)
        terminal.send("/quit\n")
        self.ends_well(terminal)
        other = self.terminal("--max-tokens", "12")
        self.assertIn("loaded: ", other.say("/load " + file))
        self.assertEqual(other.answer(SECOND), second)
        # An empty line goes on where the saved answer stopped.
        other.say("/load " + file)
        whole, _ = piped([LINE + "\n"], "--max-tokens", "24")
        self.assertEqual(first + other.answer("") + "\n", whole)

    def test_mistakes_take_one_line(self):
        terminal = self.terminal("--max-tokens", "8")
        for line, words in (("/save", "needs a file name"), ("/load /no/such", "/no/such"),
                            ("/rewind", "back here: 0;"), ("/rewind many", "at least 1"),
                            ("/rewind -1", "at least 1"), ("/dance", "/help"),
                            ("/save /no/such/folder/x", "not saved"), ("", "type some text")):
            with self.subTest(line=line):
                said = terminal.say(line)
                self.assertIn(words, said)
                self.assertNotIn("\n", said)
        for word in ("/save", "/load", "/rewind", "/stats", "/quit", "Ctrl-C"):
            self.assertIn(word, terminal.say("/help"))
        terminal.answer("//this is text")
        self.assertIn("memory plan", terminal.say("/stats"))

    def test_a_full_context(self):
        terminal = self.terminal("--context", "32", "--max-tokens", "20")
        terminal.answer(LINE)
        said = terminal.say(SECOND)
        self.assertIn("the context is full, so the answer ends here", said)
        said = terminal.say("And then")
        self.assertIn("the context is full: ", said)
        self.assertIn("/reset", said)
        self.assertNotIn("\n", said)
        # Both ways out.
        terminal.say("/rewind")
        self.assertIn("tokens/s", terminal.say("Yes"))
        terminal.say("/reset")
        terminal.answer(LINE)

    def test_a_signal_finds_the_terminal_as_it_was(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            with self.subTest(signal=number):
                terminal = self.terminal("--max-tokens", "240")
                terminal.send(LINE + "\n")
                terminal.wait_for(lambda: "tokens/s" in terminal.screen.lines[-1])
                self.assertNotEqual(termios.tcgetattr(terminal.fd), terminal.attributes)
                os.kill(terminal.pid, number)
                self.assertEqual(terminal.wait_status(), -number)
                self.as_before(terminal)

    def stop(self, terminal):
        """Ctrl-Z; then the terminal is the shell's, and quiet."""
        terminal.send("\x1a")
        terminal.wait_for(lambda: terminal.tail().endswith(SHELL_PROMPT))
        self.as_before(terminal)
        self.assertEqual(terminal.read(0.3)[0], b"")

    def test_stopped_in_the_answer_and_continued(self):
        expected, _ = piped([LINE + "\n"], "--max-tokens", "240")
        terminal = self.terminal("--max-tokens", "240", in_shell=True)
        within = 0
        for _ in range(20):
            start = len(terminal.output())
            shown = lambda: (without_statistics(terminal.output()[start:]).decode()
                             .replace("\r\n", "\n").replace(SHELL_PROMPT + "fg\n", "")
                             .partition(LINE + "\n")[2])
            sent = time.monotonic()
            terminal.send(LINE + "\n")
            terminal.wait_for(lambda: len(shown()) > 20)
            self.stop(terminal)
            stopped = time.monotonic()
            part = shown().removesuffix(SHELL_PROMPT)
            time.sleep(1)
            paused = time.monotonic() - stopped
            terminal.send("fg\n")
            terminal.wait_for(lambda: len(shown()) > len(part) and shown().endswith("\n> "))
            if "tokens/s" not in part:  # else the answer was faster than this test
                took = time.monotonic() - sent
                text, _, statistics = shown().rpartition("[")
                self.assertEqual(text, expected)
                tokens_per_s = float(statistics.split()[0])
                self.assertLess(0.95 * 239 / tokens_per_s, took - paused)
                within += 1
            if within == 2:
                break
            terminal.say("/reset")
        self.assertEqual(within, 2)
        terminal.send("\x04")
        self.ends_well(terminal)

    def test_stopped_at_the_prompt_and_continued(self):
        expected, _ = piped([LINE + "\n"], "--max-tokens", "8")
        terminal = self.terminal("--max-tokens", "8", in_shell=True)
        terminal.send("nobody should read this")
        terminal.wait_for(lambda: terminal.tail().endswith("read this"))
        self.stop(terminal)
        terminal.send("fg\n")
        terminal.wait_for(lambda: terminal.tail().endswith("fg\r\n> "))
        self.assertEqual(terminal.answer(LINE) + "\n", expected)
        terminal.send("\x04")
        self.ends_well(terminal)

    def test_changes_of_size(self):
        expected, _ = piped([LINE + "\n"], "--max-tokens", "200")
        terminal = self.terminal("--max-tokens", "200")
        terminal.screen = Screen(200, 300)  # none of these sizes; the text is looked at alone
        start = len(terminal.output())
        terminal.send(LINE + "\n")
        for rows, columns in ((5, 25), (50, 200), (3, 10), (1, 1), (24, 80), (0, 0), (12, 80)):
            terminal.read(0.05)
            fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        text = lambda: without_statistics(terminal.output()[start:]).decode()
        terminal.wait_for(lambda: text().endswith("]\r\n> "))
        shown = text().replace("\r\n", "\n").removeprefix(LINE + "\n")
        self.assertTrue(shown.startswith(expected + "["), shown)
        # Nobody could continue it, so that stopping does nothing.
        terminal.send(SECOND + "\n")
        terminal.wait_for(lambda: text().partition(SECOND + "\r\n")[2])
        terminal.send("\x1a")
        terminal.wait_for(lambda: text().count("tokens/s") == 2 and text().endswith("> "))

    def test_a_terminal_without_ansi(self):
        expected, _ = piped([LINE + "\n"], "--max-tokens", "8")
        terminal = self.terminal("--max-tokens", "8", term="dumb")
        self.assertEqual(terminal.answer(LINE) + "\n", expected)
        self.assertNotIn(b"\x1b", terminal.output())


class WithoutATerminal(ChatTest):
    def test_pipes_get_text_alone(self):
        text, remarks = piped([LINE + "\n", SECOND], "--max-tokens", "8")
        self.assertNotIn("\x1b", text + remarks)
        self.assertNotIn("tokens/s", text)
        self.assertNotIn(">", text)
        self.assertEqual(remarks.count("tokens/s"), 2)
        self.assertEqual(piped([], "--max-tokens", "8"), ("", ""))
        # Turns are one text.
        whole, _ = piped([LINE + "\n"], "--max-tokens", "16")
        first, _ = piped([LINE + "\n"], "--max-tokens", "8")
        both, _ = piped([LINE + "\n", "\n"], "--max-tokens", "8")
        self.assertEqual(both[len(first):], whole[len(first) - 1:])

    def test_failures_show_in_the_status(self):
        _, remarks = piped(["/load /no/such\n", LINE + "\n"], "--max-tokens", "8", code=1)
        self.assertIn("/no/such", remarks)
        long, remarks = piped(["x" * (3 << 20) + "\n", LINE + "\n"], "--max-tokens", "8", code=1)
        self.assertIn("was dropped", remarks)
        self.assertTrue(long)
        done = subprocess.run([CHAT, "/no/such.flash"], capture_output=True, text=True,
                              timeout=PATIENCE_S)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("/no/such.flash", done.stderr)
        for args in ([], ["--seed"], [MODEL, "--seed", "-1"], [MODEL, "--dram-budget", "1X"],
                     [MODEL, "--temperature", "nan"], [MODEL, MODEL], [MODEL, "--frobnicate", "1"],
                     [MODEL, "--context", "99999999999"]):
            done = subprocess.run([CHAT, *args], capture_output=True, text=True,
                                  timeout=PATIENCE_S)
            self.assertEqual(done.returncode, 2, args)
            self.assertEqual(done.stderr.count("\n"), 1)

    def test_nobody_reads(self):
        chat = subprocess.Popen([CHAT, MODEL, *GREEDY], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        chat.stdout.close()
        chat.stdin.write((LINE + "\n").encode())
        chat.stdin.flush()  # and stdin stays open
        self.assertEqual(chat.wait(PATIENCE_S), 1)
        chat.stdin.close()


if __name__ == "__main__":
    program = unittest.main(argv=[sys.argv[0]], exit=False, verbosity=2)
    sys.exit(0 if program.result.wasSuccessful() and program.result.testsRun > 0 else 1)
