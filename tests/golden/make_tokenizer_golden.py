#!/usr/bin/env python3
"""Writes tests/golden/tokenizer/: texts, and the ids that Hugging Face's tokenizers give them.

Made with Python 3.11.7, tokenizers 0.23.3, transformers 5.24.0:

    pip install tokenizers==0.23.3 transformers==5.24.0
    python tests/golden/make_tokenizer_golden.py

The output depends on the seed and on these versions alone; other versions are refused unless
--any-version is given. --check-classes compares lib/text/unicode_classes.cc, code point by code
point, with the classes that the regular expressions of `tokenizers` see.

Files:
  mixed/tokenizer.json                  a small tokenizer, trained here on text of several scripts
  mixed/vocab.json, mixed/merges.txt    the same in GPT-2's two files
  mixed/tokenizer_config.json           ... as OPT configures it
  mixed/llama3.json, mixed/qwen2.json   the same words behind the pre-tokenisers of those models
  encode.json   {"texts": [base64 of raw bytes], "ids": {tokenizer: [[id, ...], ...]}}
  decode.json   {tokenizer: [{"ids": [...], "text": base64}, ...]}

Texts are raw bytes; Hugging Face sees them after bytes.decode("utf-8", "replace"). Special tokens
spelled in a text are ordinary text to us, but Hugging Face interprets them: the tokenizers that
encode here have had their added tokens taken away (the template stays).
"""

import argparse
import base64
import json
import pathlib
import random
import re
import sys

import tokenizers
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

VERSIONS = {"tokenizers": "0.23.3", "transformers": "5.24.0"}
SEED = 20240131
ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = pathlib.Path(__file__).resolve().parent / "tokenizer"
TALES = ROOT / "examples" / "models" / "tales-7m" / "tokenizer.json"
MIXED_VOCAB = 1000
NUM_TEXTS = 2300

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")

# Opening sentences of the Universal Declaration of Human Rights (public domain), the training text
# of the mixed tokenizer.
SENTENCES = [
    "All human beings are born free and equal in dignity and rights.",
    "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "Tous les \u00eatres humains naissent libres et \u00e9gaux en dignit\u00e9 et en droits.",
    "Alle Menschen sind frei und gleich an W\u00fcrde und Rechten geboren.",
    "\u0412\u0441\u0435 \u043b\u044e\u0434\u0438 \u0440\u043e\u0436\u0434\u0430\u044e\u0442\u0441"
    "\u044f \u0441\u0432\u043e\u0431\u043e\u0434\u043d\u044b\u043c\u0438 \u0438 \u0440\u0430\u0432"
    "\u043d\u044b\u043c\u0438",
    "\u038c\u03bb\u03bf\u03b9 \u03bf\u03b9 \u03ac\u03bd\u03b8\u03c1\u03c9\u03c0\u03bf\u03b9 "
    "\u03b3\u03b5\u03bd\u03bd\u03b9\u03bf\u03cd\u03bd\u03c4\u03b1\u03b9 "
    "\u03b5\u03bb\u03b5\u03cd\u03b8\u03b5\u03c1\u03bf\u03b9",
    "\u4eba\u4eba\u751f\u800c\u81ea\u7531\uff0c\u5728\u5c0a\u4e25\u548c\u6743\u5229\u4e0a"
    "\u4e00\u5f8b\u5e73\u7b49\u3002",
    "\u3059\u3079\u3066\u306e\u4eba\u9593\u306f\u3001\u751f\u307e\u308c\u306a\u304c\u3089\u306b"
    "\u3057\u3066\u81ea\u7531\u3067\u3042\u308a\u3001",
    "\ubaa8\ub4e0 \uc778\uac04\uc740 \ud0dc\uc5b4\ub0a0 \ub54c\ubd80\ud130 "
    "\uc790\uc720\ub85c\uc6b0\uba70",
    "\u064a\u0648\u0644\u062f \u062c\u0645\u064a\u0639 \u0627\u0644\u0646\u0627\u0633 "
    "\u0623\u062d\u0631\u0627\u0631\u064b\u0627",
    "\u05db\u05dc \u05d1\u05e0\u05d9 \u05d0\u05d3\u05dd \u05e0\u05d5\u05dc\u05d3\u05d5 "
    "\u05d1\u05e0\u05d9 \u05d7\u05d5\u05e8\u05d9\u05df",
    "\u0938\u092d\u0940 \u092e\u0928\u0941\u0937\u094d\u092f\u094b\u0902 \u0915\u094b "
    "\u0917\u094c\u0930\u0935 \u0914\u0930 \u0905\u0927\u093f\u0915\u093e\u0930\u094b\u0902",
    "\u0e21\u0e19\u0e38\u0e29\u0e22\u0e4c\u0e17\u0e31\u0e49\u0e07\u0e2b\u0e25\u0e32\u0e22"
    "\u0e40\u0e01\u0e34\u0e14\u0e21\u0e32\u0e21\u0e35\u0e2d\u0e34\u0e2a\u0e23\u0e30",
    "It's what they've said: we'll see, I'd guess, you're 12,345.67 \U0001f600 aren't you?",
    "    if (x == 10) {\n\t\treturn y[3] + z;\n    }\r\n",
]

SPACES = ["\t", "\n", "\x0b", "\x0c", "\r", " ", "\x85", "\xa0", "\u1680", "\u180e", "\u2000",
          "\u2003", "\u2009", "\u200a", "\u200b", "\u200c", "\u200d", "\u2028", "\u2029", "\u202f",
          "\u205f", "\u2060", "\u3000", "\ufeff", "\x1c", "\x1d", "\x1e", "\x1f", "\r\n", "\n\n"]
EMOJI = ["\U0001f600", "\u2764\ufe0f", "\U0001f44d\U0001f3fd", "1\ufe0f\u20e3",
         "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f1e9\U0001f1ea",
         "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
         "\U0001f9d1\U0001f3ff\u200d\U0001f680", "\u263a", "\U0001fae0", "\U0001f469\U0001f3fe"]
MARKS = ["\u0301", "\u0308", "\u0327", "\u20d7", "\u064b", "\u093f", "\u0e31", "\u3099", "\ufe0f"]
DIGITS = ["0", "7", "42", "\u0661\u0662", "\u0967\u096f", "\u0e53", "\u00b2", "\u00bd", "\u2167",
          "\u3007", "\u2460", "\uff15", "\U0001d7d8", "\U00010d40", "\u0bf0", "12345", "1000000"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'Re", "'", "''s",
                "\u2019s", "'\u017f", "'x", "'l", "'r", "'v", "'ll've", " 's", "'\u0131", "'\ufb06"]
PUNCTUATION = list("!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~") + [
    "...", "--", "\u2014", "\u00ab", "\u3002", "\u20ac", "\u2200", "\u0300"]
CONTROLS = ["\x00", "\x01", "\x07", "\x08", "\x1b", "\x7f", "\x80", "\x9f", "\xad", "\u0600",
            "\ufffd", "\ufffe", "\U0010ffff", "\ue000"]
BAD_BYTES = [b"\x80", b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf",
             b"\xf4\x90\x80\x80", b"\xe0\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xf0\x80",
             b"\xbf\xbf", b"\xe4\xb8", b"\xfe", b"\xf1\x80\x80",
             b"\xc2\xc2\xa0", b"\xe1\xa0\xe1\xa0\x8e"]
SPELLED = SPECIALS + ["<|endoftext|>", "</s></s>", "a</s>b", " </s> ", "<s", "<mask>"]


def random_char(rng):
    while True:
        plane = rng.choice([0x250, 0x3000, 0x10000, 0x20000, 0x110000])
        code_point = rng.randrange(plane)
        if not 0xD800 <= code_point < 0xE000:
            return chr(code_point)


def random_part(rng, words):
    kind = rng.randrange(14)
    if kind < 3:
        return rng.choice(["", " ", "  "]) + rng.choice(words)
    if kind == 3:
        return "".join(rng.choices(SPACES, k=rng.randrange(1, 6)))
    if kind == 4:
        return rng.choice(["", " "]) + rng.choice(words).capitalize() + rng.choice(CONTRACTIONS)
    if kind == 5:
        return rng.choice([" ", "\n", "\t"]) * rng.randrange(1, 9)
    if kind == 6:
        return rng.choice(words)[:4] + "".join(rng.choices(MARKS, k=rng.randrange(1, 4)))
    if kind == 7:
        return "".join(rng.choices([random_char(rng) for _ in range(8)], k=rng.randrange(1, 8)))
    if kind == 8:
        return rng.choice(words).upper() + rng.choice(SPACES)
    pool = [EMOJI, DIGITS, CONTRACTIONS, PUNCTUATION, CONTROLS][kind - 9]
    return rng.choice(["", " "]) + "".join(rng.choices(pool, k=rng.randrange(1, 5)))


def make_texts(rng):
    words = sorted({word for line in SENTENCES for word in re.split(r"\s", line) if word})
    texts = [b"", b" ", b"  ", b"\n", b"a", b" a", b"\xff", b"'", b"'s"]
    texts += [sentence.encode() for sentence in SENTENCES]
    texts += ["".join(group).encode() for group in (SPACES, EMOJI, MARKS, DIGITS, CONTRACTIONS,
                                                     PUNCTUATION, CONTROLS, SPELLED)]
    texts += [("x" + a + "y" + a + a + " z").encode() for a in SPACES]
    texts += [b"x" + bad + b"y" + bad + bad + b" z" + bad for bad in BAD_BYTES]
    texts += [char * count for char in (b"A", b" ", b"\n", b"1", b"ab", "\u4eba".encode(), b"!")
              for count in (1, 2, 3, 7, 64, 257)]
    texts += [spelled.encode() for spelled in SPELLED]
    while len(texts) < NUM_TEXTS:
        parts = [random_part(rng, words).encode() for _ in range(rng.randrange(1, 7))]
        if rng.random() < 0.15:
            parts.insert(rng.randrange(len(parts) + 1), rng.choice(BAD_BYTES))
        if rng.random() < 0.1:
            parts.insert(rng.randrange(len(parts) + 1), rng.choice(SPELLED).encode())
        text = b"".join(parts)
        # Cutting anywhere leaves half characters at the end.
        texts.append(text[:rng.randrange(len(text) + 1)] if rng.random() < 0.1 else text)
    return texts


def train_mixed():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MIXED_VOCAB, special_tokens=SPECIALS, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    # Ties between equally frequent pairs would make the result depend on hash order.
    counts = [3 * 2 ** (i % 3) + i for i in range(len(SENTENCES))]
    lines = [line for line, count in zip(SENTENCES, counts) for _ in range(count)]
    prose = (TALES.parent / "calibration.txt").read_text(encoding="utf-8")[:6000]
    tokenizer.train_from_iterator(lines + [prose], trainer)
    assert tokenizer.get_vocab_size() == MIXED_VOCAB
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)])
    return json.loads(tokenizer.to_str())


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    # Lines of bearable length for those who look at a difference.
    path.write_text(text.replace('],"', '],\n"').replace("],[", "],\n[") + "\n")


def behind_split(document, pattern):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
             "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": False}
    template = document["post_processor"]
    offsets = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False,
               "use_regex": True}
    return dict(document,
                pre_tokenizer={"type": "Sequence", "pretokenizers": [split, level]},
                post_processor={"type": "Sequence", "processors": [offsets, template]},
                model=dict(document["model"], ignore_merges=True))


def write_mixed(folder):
    document = train_mixed()
    assert all(isinstance(merge, list) for merge in document["model"]["merges"])
    # An added token beyond the vocabulary, and one that the byte alphabet does not spell.
    document["added_tokens"] += [
        dict(document["added_tokens"][0], id=MIXED_VOCAB + i, content=content, special=special)
        for i, (content, special) in enumerate([("<|im_end|>", True), ("<a b>", False)])]
    write_json(folder / "tokenizer.json", document)
    write_json(folder / "llama3.json", behind_split(document, LLAMA3))
    write_json(folder / "qwen2.json", behind_split(document, QWEN2))
    write_json(folder / "vocab.json", document["model"]["vocab"])
    lines = ["#version: 0.2"] + [" ".join(merge) for merge in document["model"]["merges"]]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    token = {"__type": "AddedToken", "content": "</s>", "lstrip": False, "normalized": True,
             "rstrip": False, "single_word": False}
    write_json(folder / "tokenizer_config.json",
               {"errors": "replace", "unk_token": token, "bos_token": token, "eos_token": token,
                "pad_token": "<pad>", "add_prefix_space": False, "add_bos_token": True,
                "special_tokens_map_file": None, "tokenizer_class": "GPT2Tokenizer"})


def without_added(path):
    document = json.loads(path.read_text())
    return Tokenizer.from_str(json.dumps(dict(document, added_tokens=[])))


def opt_tokenizer(folder):
    """transformers' GPT2Tokenizer as it loads OPT's folder, deaf to special tokens in the text."""
    opt = transformers.GPT2Tokenizer.from_pretrained(str(folder))
    whole = Tokenizer.from_str(opt._tokenizer.to_str())
    deaf = json.loads(opt._tokenizer.to_str())
    deaf["added_tokens"] = []
    return whole, Tokenizer.from_str(json.dumps(deaf))


def load_all():
    mixed = OUT / "mixed"
    paths = {"tales": TALES, "mixed": mixed / "tokenizer.json", "llama3": mixed / "llama3.json",
             "qwen2": mixed / "qwen2.json"}
    whole = {name: Tokenizer.from_file(str(path)) for name, path in paths.items()}
    deaf = {name: without_added(path) for name, path in paths.items()}
    # A folder with the two files and the configuration only, as OPT's is.
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
            (pathlib.Path(folder) / name).write_bytes((mixed / name).read_bytes())
        whole["opt"], deaf["opt"] = opt_tokenizer(folder)
    return whole, deaf


def write_encode(texts, deaf):
    ids = {name: [tokenizer.encode(text.decode("utf-8", "replace")).ids for text in texts]
           for name, tokenizer in deaf.items()}
    # The file stays under a megabyte: the pre-tokenisers beyond GPT-2's see fewer texts.
    for name in ("llama3", "qwen2", "opt"):
        ids[name] = ids[name][:1000]
    write_json(OUT / "encode.json",
               {"texts": [base64.b64encode(text).decode() for text in texts], "ids": ids})


def write_decode(rng, whole):
    goldens = {}
    for name in ("tales", "mixed", "opt"):
        tokenizer = whole[name]
        vocab = tokenizer.get_vocab_size()
        cases = []
        for i in range(300):
            # The single bytes are among the first ids: half of the cases are mostly partial
            # characters.
            limit = vocab if i % 2 else 4 + 256
            ids = [rng.randrange(limit) for _ in range(rng.randrange(12))]
            text = tokenizer.decode(ids, skip_special_tokens=False)
            cases.append({"ids": ids, "text": base64.b64encode(text.encode()).decode()})
        goldens[name] = cases
    write_json(OUT / "decode.json", goldens)


def hugging_face_class(level, char):
    if len(level.pre_tokenize_str("a" + char)) == 1:
        return "kLetters"
    if len(level.pre_tokenize_str("1" + char)) == 1:
        return "kNumbers"
    return "kOther" if len(level.pre_tokenize_str("!" + char)) == 1 else "kSpaces"


def check_classes():
    source = (ROOT / "lib" / "text" / "unicode_classes.cc").read_text()
    ours = {}
    for name in ("kLetters", "kNumbers", "kSpaces"):
        body = source.split(name + "[] = {")[1].split("};")[0]
        for first, last in re.findall(r"\{0x([0-9a-f]+), 0x([0-9a-f]+)\}", body):
            for code_point in range(int(first, 16), int(last, 16) + 1):
                ours[code_point] = name
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    wrong = [f"U+{c:04X}" for c in range(0x110000) if not 0xD800 <= c < 0xE000
             and hugging_face_class(level, chr(c)) != ours.get(c, "kOther")]
    print(f"{len(wrong)} code points differ", *wrong[:20])
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--any-version", action="store_true")
    parser.add_argument("--check-classes", action="store_true")
    args = parser.parse_args()
    found = {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__}
    if found != VERSIONS and not args.any_version:
        sys.exit(f"needs {VERSIONS}, found {found}")
    if args.check_classes:
        return check_classes()
    rng = random.Random(SEED)
    write_mixed(OUT / "mixed")
    whole, deaf = load_all()
    write_encode(make_texts(rng), deaf)
    write_decode(rng, whole)
    return 0


if __name__ == "__main__":
    sys.exit(main())
