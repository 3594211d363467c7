"""Making and looking into bundle files."""

import shutil

import pytest

import sluice


@pytest.fixture
def copy(model_path, tmp_path):
    return shutil.copy(model_path, tmp_path / "copy.flash")


def checkpoint(source):
    return source / "examples" / "models" / "tales-7m"


def test_convert(source, tmp_path):
    calls = []
    report = sluice.convert(checkpoint(source), tmp_path / "out.flash",
                            progress=lambda *call: calls.append(call))
    assert report.has_tokenizer is True and report.num_parts == 1 and report.num_layers == 0
    assert report.bytes == (tmp_path / "out.flash").stat().st_size
    assert calls and all(0 <= done <= 1 for _, done in calls)
    assert sluice.verify(tmp_path / "out.flash") == report.records
    found = sluice.inspect(tmp_path / "out.flash")
    assert isinstance(found, dict) and found


def test_convert_to_parts_and_types(source, tmp_path):
    report = sluice.convert(checkpoint(source), tmp_path / "out.flash", dtype="f32",
                            part_bytes="8M")
    assert report.num_parts > 1
    assert sluice.verify(tmp_path / "out.flash") == report.records
    with pytest.raises(sluice.InvalidArgument):
        sluice.convert(checkpoint(source), tmp_path / "other.flash", dtype="f8")


def test_convert_that_is_stopped(source, tmp_path):
    def refuse(stage, done):
        raise LookupError(stage)

    with pytest.raises(LookupError):
        sluice.convert(checkpoint(source), tmp_path / "out.flash", progress=refuse)
    with pytest.raises(LookupError):
        sluice.convert(checkpoint(source), tmp_path / "out.flash", progress=refuse,
                       calibration=checkpoint(source) / "calibration.txt",
                       train=sluice.TrainOptions(rank=8))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        sluice.convert(tmp_path / "none", tmp_path / "out.flash")


def test_train(source, copy, tmp_path):
    text = (checkpoint(source) / "calibration.txt").read_text()[:40_000]
    (tmp_path / "text.txt").write_text(text)
    layers = sluice.train(copy, tmp_path / "text.txt", sluice.TrainOptions(rank=8))
    assert [layer.layer for layer in layers] == list(range(8))
    assert all(layer.rank == 8 and 0 < layer.recall <= 1 for layer in layers)
    with sluice.Model(copy, context_tokens=64) as model:
        assert model.info.has_predictors is True


def test_damage(copy):
    with open(copy, "r+b") as file:
        file.seek(8 << 20)  # among the records
        byte = file.read(1)
        file.seek(8 << 20)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(sluice.Corrupt) as caught:
        sluice.verify(copy)
    assert caught.value.damage and str(caught.value)

    def refuse(stage, done):
        raise LookupError(stage)

    with pytest.raises(LookupError):
        sluice.verify(copy, progress=refuse)


def test_inspect_refuses(tmp_path):
    (tmp_path / "text").write_text("no bundle file" * 1000)
    with pytest.raises(sluice.SluiceError):
        sluice.inspect(tmp_path / "text")


def test_evaluate(source, model_path):
    text = (checkpoint(source) / "held-out.txt").read_text()
    with sluice.Model(model_path, context_tokens=256, mode="dense") as model:
        calls = []
        result = sluice.evaluate(model, text, max_tokens=600,
                                 progress=lambda *call: calls.append(call))
        assert 5 < result.perplexity < 60 and 400 < result.tokens <= 600 and calls
        with pytest.raises(sluice.InvalidArgument):
            sluice.evaluate(model, "")
        with model.session(), pytest.raises(sluice.BadState):
            sluice.evaluate(model, text, max_tokens=100)


def test_device(copy, tmp_path):
    try:
        points = sluice.device_measure(tmp_path, seconds=0.3, curve=tmp_path / "curve")
    except sluice.BadState as error:  # no O_DIRECT on this storage
        pytest.skip(str(error))
    assert points and all(point.gb_per_s > 0 and point.us_per_read > 0 for point in points)
    sluice.Model(copy, device_curve=tmp_path / "curve", context_tokens=64).close()
