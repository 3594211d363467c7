"""transformers with streamed feed-forward layers against plain transformers and Sluice alone."""

import os
import pathlib
import sys

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import sluice  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from sluice_opt import SluiceOPT, parameter_bytes  # noqa: E402
from transformers import OPTForCausalLM  # noqa: E402

torch.set_num_threads(1)  # the model is small, and a test machine has other work

PROMPTS = ["The old woman opened the door and", "Once upon a time there was a king who had",
           "The sea"]


@pytest.fixture(scope="module")
def checkpoint():
    return pathlib.Path(os.environ["SLUICE_TEST_SOURCE"]) / "examples" / "models" / "tales-7m"


@pytest.fixture(scope="module")
def bundle():
    return os.environ["SLUICE_TEST_MODEL"]


@pytest.fixture(scope="module")
def plain(checkpoint):
    return OPTForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def streamed(checkpoint, bundle):
    ffn = sluice.Model(bundle, ffn_only=True, mode="dense", dram_budget="16M")
    return SluiceOPT.from_pretrained(checkpoint, ffn, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokens(bundle):
    """Token ids of the prompts, and of a long text."""
    with sluice.Model(bundle, context_tokens=64) as model:
        long = (" ".join(PROMPTS) + "\n") * 20
        return [model.tokenize(text).tolist() for text in (*PROMPTS, long)]


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def greedy(model, ids, count=64, **more):
    return model.generate(torch.tensor(ids), max_new_tokens=count, min_new_tokens=count,
                          do_sample=False, pad_token_id=1, **more).tolist()


def assert_close(got, expected):
    assert np.abs(got - expected).max() <= 1e-3


def test_torch_has_no_ffn_weights(plain, streamed):
    names = [name for name, _ in streamed.named_parameters()]
    assert not [name for name in names if "fc1" in name or "fc2" in name]
    assert not any(p.is_meta for p in streamed.parameters())
    ffn = sum(p.numel() * 4 for name, p in plain.named_parameters() if ".fc" in name)
    assert parameter_bytes(plain) - parameter_bytes(streamed) == ffn > parameter_bytes(plain) / 2


def test_checkpoint_without_them(checkpoint, streamed, bundle, tokens, tmp_path):
    """So they cannot have been read."""
    state = load_file(checkpoint / "model.safetensors")
    rest = {name: value for name, value in state.items() if ".fc" not in name}
    assert len(rest) == len(state) - 4 * 8
    save_file(rest, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    ffn = sluice.Model(bundle, ffn_only=True, mode="dense", dram_budget="32M")
    other = SluiceOPT.from_pretrained(tmp_path, ffn, dtype=torch.float32)
    np.testing.assert_array_equal(logits_of(other, tokens[0]), logits_of(streamed, tokens[0]))


def test_bits_of_a_layer(streamed, bundle):
    """The module's are the backend's, whatever the budget."""
    x = torch.randn(50, 256, generator=torch.Generator().manual_seed(3))
    floor = sluice.Model.plan_for(bundle, ffn_only=True, mode="dense", dram_budget="1G").floor_bytes
    for index, layer in enumerate(streamed.model.decoder.layers):
        got = layer.fc1(x)
        np.testing.assert_array_equal(layer.fc1(x.reshape(5, 10, 256)).reshape(50, 256), got)
        if index in (0, 7):
            for budget in (floor, "64M"):
                with sluice.Model(bundle, ffn_only=True, mode="dense", dram_budget=budget) as ffn:
                    with ffn.backend() as backend:
                        np.testing.assert_array_equal(backend.forward(index, x.numpy()), got)


def test_logits(plain, streamed, bundle, tokens):
    for ids in tokens:
        assert_close(logits_of(streamed, ids), logits_of(plain, ids))
    # And those of Sluice alone.
    with sluice.Model(bundle, mode="dense", context_tokens=512) as model:
        for ids in tokens:
            with model.session() as session:
                assert_close(session.prefill(ids), logits_of(streamed, ids)[-1])


def test_greedy_tokens(plain, streamed, bundle, tokens):
    expected = greedy(plain, [tokens[0]])
    assert greedy(streamed, [tokens[0]]) == expected
    with sluice.Model(bundle, mode="dense", context_tokens=128) as model:
        pieces = model.session().generate(tokens[0], max_tokens=64, ignore_eos=True)
        assert [p.token for p in pieces if p.token is not None] == expected[0][len(tokens[0]):]


def test_batch_padded_on_the_left(plain, streamed, tokens):
    width = max(map(len, tokens[:3]))
    ids = [[1] * (width - len(row)) + row for row in tokens[:3]]
    mask = torch.tensor([[int(i >= width - len(row)) for i in range(width)] for row in tokens[:3]])
    got = greedy(streamed, ids, attention_mask=mask)
    assert got == greedy(plain, ids, attention_mask=mask)
    assert got[2][width:] == greedy(streamed, [tokens[2]])[0][len(tokens[2]):]


def test_long_prompt(plain, streamed, tokens):
    assert len(tokens[3]) > 300
    assert greedy(streamed, [tokens[3][:400]], 16) == greedy(plain, [tokens[3][:400]], 16)


def test_another_models_file(checkpoint, bundle):
    from transformers import OPTConfig

    config = OPTConfig.from_pretrained(checkpoint)
    config.ffn_dim = 512
    with pytest.raises(ValueError, match="another model"):
        SluiceOPT(config, sluice.Model(bundle, ffn_only=True))
