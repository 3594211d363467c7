"""Faults that only root can cause: a user with little locked memory, a full disk."""
import os
import resource
import subprocess
import unittest

import program
from program import ProgramTest, TALES


def nobody_with_little_memlock():
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (64 << 10, 64 << 10))
    os.setgid(65534)
    os.setuid(65534)


class RootFaults(ProgramTest):
    @unittest.skipUnless(os.getuid() == 0, "needs root, to become somebody else")
    def test_memlock_too_small(self):
        os.chmod(ProgramTest.shared, 0o755)
        usual = self.text()
        limited = self.text(preexec=nobody_with_little_memlock)
        self.assertEqual(limited["text"], usual["text"])
        self.assertTrue(limited["stats"]["engine_reason"])

    @unittest.skipUnless(os.getuid() == 0, "needs root, to mount a small file system")
    def test_disk_full(self):
        disk = self.path("disk")
        os.mkdir(disk)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", disk],
                                 capture_output=True)
        if mounted.returncode != 0:
            self.skipTest("cannot mount: " + mounted.stderr.decode())
        self.addCleanup(subprocess.run, ["umount", disk])
        line = self.fails("convert", TALES, os.path.join(disk, "out.flash"))
        self.assertRegex(line, "free|space|ENOSPC")
        self.assertEqual(os.listdir(disk), [])


if __name__ == "__main__":
    program.main()
