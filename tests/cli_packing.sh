#!/bin/sh
# What people have is packed, or named and left: JSON as Python reads it, compressed files, pages, binary files, shards,
# inputs to hold out, an output among the inputs. Each row of the table is one sentence.
set -eu
. "$(dirname "$0")/study.sh"
rounds=1500
[ -z "${SLUICE_FULL:-}" ] || rounds=200000

cat >packing.py <<'PY'
import bz2, ctypes, gzip, io, json, os, random, shutil, struct, subprocess, sys, tarfile

sluice, rounds = sys.argv[1], int(sys.argv[2])
bad = 0

def zstd(data, library=ctypes.CDLL("libzstd.so.1")):
    checksum, size = 201, ctypes.c_size_t
    library.ZSTD_createCCtx.restype = ctypes.c_void_p
    library.ZSTD_compress2.restype = library.ZSTD_compressBound.restype = size
    context = ctypes.c_void_p(library.ZSTD_createCCtx())
    library.ZSTD_CCtx_setParameter(context, checksum, 1)
    room = ctypes.create_string_buffer(library.ZSTD_compressBound(size(len(data))))
    used = library.ZSTD_compress2(context, room, size(len(room)), data, size(len(data)))
    return room.raw[:used]

def documents(path):
    file = open(path, "rb").read()
    width, = struct.unpack_from("<I", file, 12)
    tokens, count, _, train = struct.unpack_from("<4Q", file, 40)
    bound = struct.unpack_from("<%dQ" % (count + 1), file, (128 + tokens * width + 7) // 8 * 8)
    texts = [file[128 + width * bound[d]:128 + width * bound[d + 1]] for d in range(count)]
    return texts[:train], texts[train:]

def sluice_data(*words):
    done = subprocess.run([sluice, "data", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode()

def write(files):
    shutil.rmtree("in", ignore_errors=True)
    os.mkdir("in")
    for name, content in files.items():
        path = os.path.join("in", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if isinstance(content, str): os.symlink(content, path)
        else: open(path, "wb").write(content)

def check(sentence, files, words, code=0, docs=None, held=None, says=(), silent=()):
    global bad
    write(files)
    if os.path.exists("out.tok"): os.remove("out.tok")
    if "--held-out-from" not in words: words = words + ["--held-out", "0"]
    got, said = sluice_data("pack", *words, "-o", "out.tok")
    found = documents("out.tok") if got == 0 else (None, None)
    wrong = ["exit code %d, not %d" % (got, code)] if got != code else []
    if docs is not None and found[0] != docs: wrong.append("trains on %.200r, not %.200r" % (found[0], docs))
    if held is not None and sorted(found[1] or []) != sorted(held):
        wrong.append("holds out %.200r, not %.200r" % (found[1], held))
    wrong += ["does not say %r" % text for text in says if text not in said]
    wrong += ["says %r" % text for text in silent if text in said]
    if code and os.path.exists("out.tok"): wrong.append("leaves a token file")
    left = [name for name in os.listdir(".") + os.listdir("in") if name.startswith(".")
            and name not in (".git", ".hidden", ".h")]
    if left: wrong.append("leaves %s" % left)
    if wrong:
        bad += 1
        print("%s:\n  %s\n%s" % (sentence, "\n  ".join(wrong), said))

# ---- JSON ----
line = lambda text: json.dumps({"text": text}).encode() + b"\n"
for name in "a.jsonl", "a.JSONL", "a.ndjson", "a.NdJson":
    check("a value a line, whatever the case of its name: " + name, {name: line("one") + line("two")}, ["in"],
          docs=[b"one", b"two"])
json_lines = [
    ("a NUL is the byte 0", rb'{"text": "a\u0000b"}', b"a\0b"),
    ("half a pair is U+FFFD", rb'{"text": "a\ud800b\udc00"}', "a\ufffdb\ufffd".encode()),
    ("a pair is one character", rb'{"text": "\ud83d\ude00"}', "\U0001f600".encode()),
    ("integers have any length", b'{"n": 123456789012345678901234567890, "text": "a"}', b"a"),
    ("numbers that are none", b'{"n": [NaN, Infinity, -Infinity, 1e999], "text": "a"}', b"a"),
    ("of keys that come again the last counts", b'{"text": "a", "n": 1, "n": 2, "text": "b"}', b"b"),
    ("also when it is no text", b'{"text": "a", "text": 5}', None),
    ("white space around", b' \t{ "text" : "a" } \t', b"a"),
    ("a string is text itself", b'"a"', b"a"),
    ("nothing in it", b'{"text": ""}', b""),
    ("text in a part is not the text", b'{"meta": {"text": "a"}}', None),
    ("another key", b'{"content": "a"}', None),
    ("no object", b'[{"text": "a"}]', None), ("a number", b'5', None),
    ("cut off", b'{"text": "a', None), ("more behind it", b'{"text": "a"} {"text": "b"}', None),
    ("a control character", b'{"text": "a\tb"}', None), ("no UTF-8", b'{"text": "\xff"}', None),
    ("a surrogate in UTF-8", b'{"text": "\xed\xa0\x80"}', None),
    ("quotes of Python", b"{'text': 'a'}", None), ("a comma too many", b'{"text": "a",}', None),
    ("no such escape", rb'{"text": "\x41"}', None),
    ("nested 900 deep", b'{"a": ' + b"[" * 900 + b"]" * 900 + b', "text": "a"}', b"a"),
    ("nested 100 000 deep", b"[" * 100000, None),
]
for sentence, text, want in json_lines:
    check(sentence, {"a.jsonl": text + b"\n" + line("last")}, ["in/a.jsonl"], docs=[d for d in (want, b"last") if d],
          says=["in/a.jsonl:1: "] if want is None else [],
          silent=[] if want is None else ["skipped"])
check("a mark, line ends of Windows and of old, blank lines, no last line end",
      {"a.jsonl": b"\xef\xbb\xbf" + line("a")[:-1] + b"\r\n\r\n" + line("b")[:-1] + b"\r" + line("c")[:-1]},
      ["in"], docs=[b"a", b"b", b"c"], silent=["skipped"])
broken = b"".join(line("good %d" % i) + b'{"text": %d}\n{"text":}\n' % i for i in range(9))
check("what is broken is skipped, counted and the first of it named", {"a.jsonl": broken}, ["in"],
      docs=[b"good %d" % i for i in range(9)],
      says=["skipped    18 values of JSON", "in/a.jsonl:2: no string 'text'; there is text",
            "in/a.jsonl:3: column 9: no JSON value", "in/a.jsonl:5: ", "and 15 more"])
check("--strict: the first is an error", {"a.jsonl": broken}, ["in", "--strict"], code=4,
      says=["in/a.jsonl:2: no string 'text'; there is text"])
check("none of a named file is of use", {"a.jsonl": b'{"body": "a"}\n' * 3}, ["in/a.jsonl"], code=4,
      says=["in/a.jsonl:1: no string 'text'; there is body (--key NAME", "all 3"])
check("none of a file in a folder is of use", {"a.jsonl": b'{"body": "a"}\n' * 3, "b.txt": b"b"}, ["in"], docs=[b"b"],
      says=["1: no string 'text'; there is body"])
check("--key", {"a.jsonl": b'{"body": "a", "text": "b"}\n'}, ["in", "--key", "body"], docs=[b"a"])
check("--key of a part, and a name with a dot",
      {"a.jsonl": b'{"a": {"b": "1"}}\n{"a.b": "2"}\n{"a": {"b": "x"}, "a": 5}\n'}, ["in", "--key", "a.b"],
      docs=[b"1", b"2"], says=["skipped    1 "])
check("--key of nothing", {"a.jsonl": line("a")}, ["in", "--key", ""], code=2, says=["--key '': must be a name"])
check("a list of objects and strings", {"a.json": b' [{"text": "a"},\n "b", {"id": 1}]\n'}, ["in"], docs=[b"a", b"b"],
      says=["in/a.json: element 3: no string 'text'; there is id"])
check("one object on many lines", {"a.json": json.dumps({"text": "a", "n": [1, 2]}, indent=1).encode()}, ["in"],
      docs=[b"a"])
check("lines in .json", {"a.json": line("a") + b'{"text":\n' + line("b")}, ["in"], docs=[b"a", b"b"],
      says=["in/a.json:2: column"])
check("a list that is cut off is packed in no part", {"a.json": b'[{"text": "a"},\n {"text": "b"}', "b.txt": b"b"},
      ["in"], docs=[b"b"], says=["2: column 15: expected ',' or ']'"])
check("and an error when it is named", {"a.json": b'[{"text": "a"},\n {"text": "b"}'}, ["in/a.json"], code=4,
      says=["in/a.json:2: column 15: expected ',' or ']'"])
check("an empty list", {"a.json": b"[]", "b.txt": b"b"}, ["in"], docs=[b"b"], says=["it holds no text"])

# ---- answers ----
chat = lambda *turns: json.dumps({"messages": [{"role": r, "content": c} for r, c in turns]}).encode() + b"\n"
pair = lambda p, c: json.dumps({"prompt": p, "completion": c}).encode() + b"\n"
written = b"<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
check("a chat and a prompt are written alike", {"a.jsonl": chat(("user", "a"), ("assistant", "b"))},
      ["in", "--answers", "chat"], docs=[written], says=["targets    11, 17.5 % of the tokens"])
check("of prompts", {"a.jsonl.gz": gzip.compress(pair("a", "b"))}, ["in", "--answers", "prompt"], docs=[written])
check("a list of examples, a file that is no JSON, --seq",
      {"a.json": b"[" + pair("a", "b") + b"," + pair("a", "b") + b"]", "README.md": b"no"},
      ["in", "--answers", "prompt", "--seq", "20"], docs=[written, written],
      says=["in/README.md  no JSON", "duplicates 1", "windows    3 of 20 tokens", "2 examples are longer and cut"])
check("no JSON that is named", {"a.txt": b"a"}, ["in/a.txt", "--answers", "chat"], code=4,
      says=["in/a.txt: is no JSON: --answers reads .jsonl, .ndjson and .json"])
check("the first that is no example is an error", {"a.jsonl": pair("a", "b") + b'{"prompt": "a", "completio": "b"}\n'},
      ["in", "--answers", "prompt"], code=4,
      says=["in/a.jsonl:2: column 1: no field 'completion' (is it 'completio'?); there is prompt, completio"])
check("in a list too", {"a.json": b"[" + pair("a", "b") + b", 5]"}, ["in", "--answers", "prompt"], code=4,
      says=["in/a.json:2: column 3: the value is a number: must be an object"])
check("a form that is none", {"a.jsonl": pair("a", "b")}, ["in", "--answers", "chats"], code=2,
      says=["--answers chats: must be chat or prompt (did you mean 'chat'?)"])
check("a template of nothing", {"a.jsonl": pair("a", "b")}, ["in", "--template", "{prompt}"], code=2,
      says=["--template: is of --answers"])
check("a template that is wrong", {"a.jsonl": pair("a", "b")}, ["in", "--answers", "prompt", "--template", "{promt}"],
      code=2, says=["--template: line 1: column 1: no placeholder '{promt}' (did you mean '{prompt}'?)"])
check("a template, and names", {"a.jsonl": b'{"q": "1", "a": "2"}'},
      ["in", "--answers", "prompt", "--key", "q,a", "--template", "Q {prompt}\\nA {completion}."], docs=[b"Q 1\nA 2."])
check("prompts that are trained on", {"t/a.jsonl": pair("a", "b"), "h/b.jsonl": pair("a", "c") + pair("d", "e")},
      ["in/t", "--answers", "prompt", "--held-out-from", "in/h"], docs=[written],
      says=["leaked     1 held-out examples have a prompt"])

# ---- compressed ----
text = b"".join(b"%d times %d\n" % (i, i * i) for i in range(300000))
check("gzip", {"a.txt.gz": gzip.compress(text)}, ["in"], docs=[text])
check("gzip of several members, zeros behind",
      {"a.txt.gz": gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two") + bytes(512)}, ["in"],
      docs=[b"one two"])
check("zstd", {"a.txt.zst": zstd(text)}, ["in"], docs=[text])
check("zstd of several frames", {"a.txt.zst": zstd(b"one ") + zstd(b"two")}, ["in"], docs=[b"one two"])
check("by what it is, not by its name", {"a.jsonl": gzip.compress(line("a")), "b.gz": b"plain"}, ["in"],
      docs=[b"a", b"plain"])
check("the kind stands before the ending", {"a.JSONL.GZ": gzip.compress(line("a")), "b.ndjson.zst": zstd(line("b"))},
      ["in"], docs=[b"a", b"b"])
check("of nothing", {"a.txt.gz": gzip.compress(b""), "b.txt": b"b"}, ["in"], docs=[b"b"], says=["it holds no text"])
check("gzip in gzip", {"a.gz": gzip.compress(gzip.compress(b"a"))}, ["in/a.gz"], code=4, says=["gzip within gzip"])
packed, frames = gzip.compress(text), zstd(text)
flip = lambda data, at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
for cut in 1, 10, len(packed) // 2, len(packed) - 8, len(packed) - 1:
    check("gzip cut off at %d" % cut, {"a.gz": packed[:cut]}, ["in"], code=0 if cut == 1 else 4,
          says=[] if cut == 1 else ["a.gz: offset %d: the gzip data is damaged or cut off" % cut])
for cut in 5, len(frames) // 2, len(frames) - 1:
    check("zstd cut off at %d" % cut, {"a.zst": frames[:cut]}, ["in"], code=4,
          says=["a.zst: offset ", "the zstd data is damaged or cut off"])
check("gzip damaged", {"a.gz": flip(packed, len(packed) // 2)}, ["in"], code=4, says=["a.gz: offset ", "damaged"])
check("a sum of gzip that is wrong", {"a.gz": flip(packed, len(packed) - 6)}, ["in"], code=4,
      says=["a.gz: offset ", "damaged"])
check("zstd damaged", {"a.zst": flip(frames, len(frames) // 2)}, ["in"], code=4, says=["a.zst: offset ", "damaged"])
check("something else behind gzip", {"a.gz": packed + b"more"}, ["in"], code=4, says=["a.gz: offset ", "damaged"])

# ---- pages ----
page = b"""\xef\xbb\xbf<!DOCTYPE html><html><head><title>Caf&eacute; &amp; more</title><meta charset=utf-8>\
<style>p { x: "</p>" }</style></head>
<body><!-- <p>no</p> --><script>if (a < b) document.write("<p>no</p>")</script>\
<h1>Head<em>line</em></h1><p class="a>b">Words
   and   <a href='x'>links</a>, 1 < 2 &#8212; &#x41;&nope; R&D&nbsp;&#160; x</p><ul><li>one<li>two</ul><br>x<pre>  kept
    as is</pre></body></html>"""
check("a page is its text", {"a.html": page}, ["in"],
      docs=["Café & more\n\nHeadline\n\nWords and links, 1 < 2 — A&nope; R&D x\n\n"
            "one\ntwo\n\n\nx\n\n  kept\n    as is\n".encode()])
check("a page without a text", {"a.HTM": b"<script>x</script>", "b.txt": b"b"}, ["in"], docs=[b"b"],
      says=["it holds no text"])
for i in range(0, len(page), 29):
    check("a page cut off at %d" % i, {"a.xhtml": page[:i], "b.txt": b"b"}, ["in"])

# ---- what a folder holds beside text ----
tar = io.BytesIO()
with tarfile.open(fileobj=tar, mode="w") as archive: archive.addfile(tarfile.TarInfo("a"))
beside = {"noise": random.Random(1).randbytes(5000).replace(b"\0", b"a"), "zeros.txt": b"text\0text",
          "a.pdf": b"%PDF-1.7 text", "a.docx": b"PK\x03\x04text", "a.tar": tar.getvalue(),
          "a.tar.gz": gzip.compress(tar.getvalue()), "a.bz2": bz2.compress(b"a"), "a.parquet": b"PAR1text",
          "a.npy": b"\x93NUMPY\1\0text", "utf16.txt": "text".encode("utf-16"),
          "koi8.txt": "кои восемь".encode("koi8-r"), "a.h5": b"\x89HDF\r\n\x1a\n", "empty": b"", "gone": "nowhere",
          "pipe": "/dev/null"}
reasons = {"noise": "binary, or text that is not UTF-8", "zeros.txt": "zero bytes", "a.pdf": "PDF; pdftotext",
           "a.docx": "ZIP archive", "a.tar": "a tar archive", "a.tar.gz": "a tar archive",
           "a.bz2": "bzip2", "a.parquet": "Parquet; from Python:", "a.npy": "numpy", "utf16.txt": "UTF-16; iconv",
           "koi8.txt": "not UTF-8; iconv", "a.h5": "HDF5", "empty": "no text",
           "gone": "a link to what is not there", "pipe": "a device"}
kept = {"words": b"w", "data.csv": b"1,2\n", "latin1.txt": ("naïve café " + 40 * "plain ").encode("latin-1"),
        "README.md": b"# r", ".hidden": b"no", ".git/config": b"no"}
check("what else a folder holds is named and left out", {**beside, **kept}, ["in"],
      docs=[kept["README.md"], kept["data.csv"], kept["latin1.txt"], kept["words"]],
      says=["2 hidden files and folders were passed over"])
for name, reason in reasons.items():
    check("left out: " + name, {name: beside[name], "words": b"w"}, ["in"], docs=[b"w"], says=["in/" + name, reason])
    if name != "empty": check("an error when it is named: " + name, {name: beside[name], "words": b"w"},
                              ["in/words", "in/" + name], code=4, says=["in/" + name])
check("a link that is followed", {"a.txt": b"a", "b.txt": "a.txt"}, ["in"], docs=[b"a", b"a"])

check("nothing but what is left", {"a": b"\0", "b": b""}, ["in"], code=4,
      says=["the inputs hold no text; left out, first of 2: in/a: binary"])

# ---- file by file ----
check("what was taken, file by file", {"b/x.txt": b"four", "a.jsonl": line("one") + line("two")}, ["in/"],
      says=["in/a.jsonl          2      6", "in/b/x.txt          1      4"])
check("--quiet", {"b/x.txt": b"four", "z": b"\0"}, ["in", "--quiet"], says=["tokens     4 in 1 documents"],
      silent=["in/"])
check("of very many, folder by folder", {"%d/%d.txt" % (i % 3, i): b"text" for i in range(100)}, ["in"],
      says=["in/0/         34    136     34", "in/2/         33    132     33"])
check("of very many that are left, reason by reason", {**{"%d.bin" % i: b"\0" for i in range(60)}, "a": b"a"}, ["in"],
      says=["60, as in/0.bin", "zero bytes"], silent=["in/1.bin"])
write({"a.jsonl": line("one") + b"5\n", "b": b"\0", ".h": b""})
code, said = sluice_data("pack", "in", "-o", "out.tok", "--held-out", "0", "--json")
told = json.loads(said)
assert code == 0 and told["taken"] == [{"path": "in/a.jsonl", "held_out": False, "documents": 1, "bytes": 3,
                                        "skipped": 1, "first_skipped": [
    "in/a.jsonl:2: neither a string nor an object with a string 'text'"]}], said
assert told["left_out"][0]["path"] == "in/b" and told["hidden"] == told["skipped"] == 1, said
check("nothing held out is told", {"a": b"a"}, ["in"],
      says=["nothing, so no study can run on it: pack with --held-out SHARE or --held-out-from INPUT"])

# ---- the output among the inputs ----
write({"a.txt": b"a", "b/c.txt": b"c"})
first = sluice_data("pack", "in", "-o", "in/b/out.tok", "--held-out", "0"), open("in/b/out.tok", "rb").read()
second = sluice_data("pack", "in", "-o", "in/b/out.tok", "--held-out", "0"), open("in/b/out.tok", "rb").read()
assert first[0][0] == second[0][0] == 0 and first[1] == second[1] and "in/b/out.tok" in second[0][1], (first, second)
assert "hidden" not in first[0][1] + second[0][1], first
for words in ["in/a.txt"], ["in"], ["in", "--held-out-from", "in/b"], ["in/b", "--held-out-from", "in/a.txt"]:
    code, said = sluice_data("pack", *words, "-o", "in/a.txt")
    assert code == 4 and open("in/a.txt", "rb").read() == b"a", (words, said)
    assert "in/a.txt: is an input, and what is packed would be written over it" in said, (words, said)
code, said = sluice_data("pack", "in/b/out.tok", "-o", "in/b/out.tok")
assert code == 4 and "is an input" in said, said

# ---- inputs to hold out ----
split = {"train/a.txt": b"a b", "train/b.txt": b"b", "valid/c.txt": b"c", "valid.jsonl": line("d") + line("a   b\n")}
check("what to hold out is an input of its own, and what is on both sides is told", split,
      ["in/train", "--held-out-from", "in/valid", "--held-out-from", "in/valid.jsonl"],
      docs=[b"a b", b"b"], held=[b"c", b"d", b"a   b\n"],
      says=["taken to train on  documents  bytes\nin/train/a.txt             1      3\n",
            "taken to hold out  documents  bytes\nin/valid/c.txt             1      1\n",
      "leaked     1 held-out documents are trained on as well"])
check("nothing leaks", split, ["in/train", "--held-out-from", "in/valid"], docs=[b"a b", b"b"], held=[b"c"],
      says=["each lies on one side"], silent=["leaked"])
check("a share and an input", split, ["in/train", "--held-out-from", "in/valid", "--held-out", "0.1"], code=2,
      says=["either a share, or inputs of their own"])
check("nothing to hold out", {**split, "none/x": b""}, ["in/train", "--held-out-from", "in/none"], code=4,
      says=["the inputs to hold out hold no text"])

# ---- token files ----
ids = lambda kind, values: struct.pack("<%d%s" % (len(values), kind), *values)
train, more, valid = list(range(60)), list(range(1000, 1040)), list(range(40, 0, -1))
shards = {"a.bin": ids("H", train), "b.bin": ids("H", more), "val.bin": ids("H", valid), "wide.bin": ids("I", train),
          "text.txt": b"text"}
v = ":vocab=50257"
check("shards are joined, and another is measured on", shards,
      ["in/a.bin" + v, "in/b.bin" + v, "--held-out-from", "in/val.bin" + v], docs=[ids("H", train), ids("H", more)],
      held=[ids("H", valid)],
      says=["tokenizer  unknown, vocabulary 50257"])
wide = [100000 + i for i in train]
check("of uint32", {**shards, "c.bin": ids("I", wide)},
      ["in/wide.bin:vocab=128256", "--held-out-from", "in/c.bin:vocab=128256"], docs=[ids("I", train)],
      held=[ids("I", wide)])
check("of another vocabulary", shards, ["in/a.bin" + v, "in/b.bin:vocab=50258", "--held-out-from", "in/val.bin" + v],
      code=4, says=["in/b.bin:vocab=50258: a vocabulary of 50258, and in/a.bin:vocab=50257 has 50257"])
check("of another width", shards, ["in/wide.bin" + v, "--held-out-from", "in/val.bin" + v], code=4,
      says=["these look like uint32"])
check("tokens and text", shards, ["in/a.bin" + v, "in/text.txt", "--held-out-from", "in/val.bin" + v], code=4,
      says=["in/text.txt: offset 0: neither a token file"])
check("text and tokens", shards, ["in/text.txt", "in/a.bin", "--held-out-from", "in/val.bin"], code=4,
      says=["in/a.bin: is not text but binary"])
check("no share of tokens", shards, ["in/a.bin" + v, "--held-out", "0.1"], code=2,
      says=["token files keep their own split"])
write({"a.jsonl": b"".join(line("a %d" % i) for i in range(50)),
       "b.jsonl": b"".join(line("b %d" % i) for i in range(50))})
for name in "a", "b": assert sluice_data("pack", "in/%s.jsonl" % name, "-o", name + ".tok", "--held-out", "0.3")[0] == 0
assert sluice_data("pack", "a.tok", "b.tok", "-o",
                   "ab.tok")[0] == 0 and sluice_data("inspect", "--verify", "ab.tok")[0] == 0
assert documents("ab.tok") == tuple(a + b for a, b in zip(documents("a.tok"), documents("b.tok")))
assert sluice_data("pack", "a.tok", "-o", "same.tok")[0] == 0 and open("same.tok",
                                                                       "rb").read() == open("a.tok", "rb").read()

# ---- any line, as Python reads it ----
draw = random.Random(7)
pieces = ["{", "}", "[", "]", ":", ",", '"text"', '"a"', '"b.c"', "1", "-0.5e+3", "01", "1.", "-", "NaN", "-Infinity",
          "nul", "null", "true", '"\\u0000"', '"\\ud800"', '"\\udbff\\udfff"', '"\\uD83d x"',
          '"é"', '"\\"', "\\", '"', " ", "\t", "\x7f", '"\\n\\/"', "\u2028", "\ufeff", "'", "/", "\x01"]
def value(depth):
    kind = draw.randrange(10 if depth < 4 else 6)
    if kind < 2: return draw.choice(["1", "-0", "1.5E-7", "NaN", "Infinity", "-Infinity", "true", "null", "false",
                                     "9" * 40])
    if kind < 6: return '"' + "".join(draw.choice(["a", " ", "é", "😀", "\\n", "\\\"", "\\\\", "\\u00e9",
                                                   "\\ud83d\\ude00", "\\udbff\\udfff", "\\ud83d", "\\udc00", "\\u0000",
                                                   "\x7f"]) for _ in range(draw.randrange(6))) + '"'
    if kind < 7: return "[" + ", ".join(value(depth + 1) for _ in range(draw.randrange(4))) + "]"
    names = ["text", "a", "text", "te\\u0078t", "", "text.a"]
    return ("{" + draw.choice(["", " "])
            + ",".join('"%s":%s' % (draw.choice(names), value(depth + 1)) for _ in range(draw.randrange(5))) + "}")
def damage(text):
    for _ in range(draw.choice([0, 0, 1, 1, 2])):
        at = draw.randrange(len(text) + 1)
        text = text[:at] + draw.choice(["", draw.choice(pieces)]) + text[at + draw.randrange(3):]
    return text
lines = [damage(value(0)) if draw.random() < 0.8 else "".join(draw.choice(pieces) for _ in range(draw.randrange(1, 12)))
         for _ in range(rounds)]
lines = [text.replace("\n", "").replace("\r", "") for text in lines]
want, refused, used = [], 0, 0
for text in lines:
    if not text.strip(" \t"): continue
    try: found = json.loads(text)
    except (ValueError, RecursionError): refused += 1; continue
    found = found.get("text") if isinstance(found, dict) else found
    if not isinstance(found, str): refused += 1; continue
    used += 1
    if found: want.append("".join("\ufffd" if 0xd800 <= ord(c) < 0xe000 else c for c in found).encode())
write({"fuzz.jsonl": "\n".join(lines).encode()})
code, said = sluice_data("pack", "in/fuzz.jsonl", "-o", "out.tok", "--held-out", "0", "--json")
assert code == 0, said
found = documents("out.tok")[0]
for i, (a, b) in enumerate(zip(found, want)):
    assert a == b, "document %d of lines at random is %r, and Python reads %r" % (i, a, b)
told = (len(found), len(want), used, refused, said)
assert len(found) == len(want) and json.loads(said)["skipped"] == refused and min(used, refused) > rounds // 5, told
sys.exit(bad > 0)
PY
/usr/bin/python3 packing.py "$sluice" "$rounds" >log 2>&1 || fail "what is packed is not what was said"
