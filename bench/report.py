#!/usr/bin/env python3
"""Measures the tables of docs/performance.md and docs/scale.md anew: python3 bench/report.py [WORDS...]

A table stands below the command that prints it, in a comment: <!-- measure: COMMAND --> ... <!-- end -->. Only those
whose command has one of the words are measured, or all. Takes the better part of an hour; the machine must have
nothing else to do.
"""
import pathlib
import re
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parent.parent
words = sys.argv[1:]


def measured(match):
    command = match[2]
    if words and not any(word in command for word in words):
        return match[0]
    print(command, file=sys.stderr)
    out = subprocess.run(["sh", "-euc", command], cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout
    return f"{match[1]}\n{out.strip()}\n\n<!-- end -->"


for name in "performance", "scale":
    page = root / f"docs/{name}.md"
    text = re.sub(r"(<!-- measure: (.*?) -->\n).*?<!-- end -->", measured, page.read_text(), flags=re.DOTALL)
    page.write_text(text)
