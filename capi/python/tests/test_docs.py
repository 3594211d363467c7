"""What docs/python.md and the READMEs show, runs."""

import shutil

import pytest

import walk


@pytest.mark.parametrize("page", ["docs/python.md", "README.md", "capi/python/README.md"])
def test_page(source, model_path, tmp_path, monkeypatch, page):
    shutil.copy(model_path, tmp_path / "tales-7m.flash")
    monkeypatch.chdir(tmp_path)
    assert walk.walk(str(source / page)) > 0


def test_licence(source):
    """The wheel's is a copy: a build of the package sees nothing above its own folder."""
    assert (source / "capi/python/LICENSE").read_bytes() == (source / "LICENSE").read_bytes()
