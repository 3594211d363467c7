"""A byte-level BPE tokenizer of a few hundred pieces, in both of the published forms."""
import json

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # ids 0 to 3, as in OPT

# Line ends, runs of spaces, contractions, digits, characters of two to four bytes, and text that
# spells a special token, which is text.
SAMPLES = ["", "The old house", " two  spaces\n\nand lines\t", "I can't; they'll; WE'RE",
           "1815, 42nd", "na\u00efve caf\u00e9 \u2014 \u65e5\u672c \U0001f600", "a</s>b<pad>",
           "\u00a0\u0301x"]


def train(text, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(text.split("\n"), trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="</s> $A", special_tokens=[("</s>", SPECIAL.index("</s>"))])
    tokenizer.encode_special_tokens = True  # special tokens spelt in a text are text
    return tokenizer


def save(tokenizer, form, folder):
    if form == "json":
        tokenizer.save(str(folder / "tokenizer.json"))
        return
    tokenizer.model.save(str(folder))  # vocab.json and merges.txt
    special = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=1) + "\n")
    token = {"__type": "AddedToken", "lstrip": False, "normalized": True, "rstrip": False,
             "single_word": False, "content": "</s>"}
    config = {"errors": "replace", "unk_token": token, "bos_token": token, "eos_token": token,
              "pad_token": {**token, "content": "<pad>"}, "add_prefix_space": False,
              "add_bos_token": True, "tokenizer_class": "GPT2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def encoded_samples(tokenizer):
    return [{"text": text, "ids": tokenizer.encode(text).ids} for text in SAMPLES]
