"""Ask llama.cpp for its ids and scores on a real model, for notebook 07.

    python tools/make_llama_cpp_reference.py FILE.gguf   # writes notebooks/smollm2_llama_cpp.json

Twice: on the file as it is, and on a temporary file that holds the same numbers as 32-bit floats
(half a gigabyte). On the first, llama.cpp rounds the activations to 8 bits before each product; on
the second it does not. Needs llama-cpp-python (the extra `peers`). Its cache of keys and values is
set to 32-bit floats, so that nothing else is rounded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

import llama_cpp
import numpy as np

from llama_edu.convert import convert

OUT = Path(__file__).resolve().parent.parent / "notebooks" / "smollm2_llama_cpp.json"
PROMPT = "The sea is"
N_GREEDY, N_LIKELIEST = 24, 20
#: Their ids are compared: several languages, digits, spaces, an emoji of several characters.
TEXTS = (
    PROMPT, "na\u00efve caf\u00e9", "\u6771\u4eac", "1234567",
    "  two spaces\n\tand a tab", "\U0001f469\u200d\U0001f680",
)  # fmt: skip
F32 = 0  # GGML_TYPE_F32


def ask(path: Path) -> tuple[llama_cpp.Llama, dict[str, object]]:
    """The open model, and what it says of the prompt."""
    model = llama_cpp.Llama(
        str(path), n_ctx=256, logits_all=True, verbose=False, type_k=F32, type_v=F32,
        flash_attn=False, n_threads=1,
    )  # fmt: skip
    ids = model.tokenize(PROMPT.encode(), add_bos=False)
    model.eval(ids)
    scores = model.scores[len(ids) - 1]
    likeliest = np.argsort(-scores, kind="stable")[:N_LIKELIEST]
    logits = {str(id): round(float(scores[id]), 5) for id in likeliest}
    greedy: list[int] = []
    while len(greedy) < N_GREEDY:
        greedy.append(int(model.scores[model.n_tokens - 1].argmax()))
        model.eval(greedy[-1:])
    return model, {"logits": logits, "greedy": greedy}


def main() -> None:
    """Write the reference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    path = parser.parse_args().model
    model, as_stored = ask(path)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "f32.gguf"
        convert(path, whole, to="gguf", type="f32")
        _, as_f32 = ask(whole)
    reference = {
        "program": f"llama-cpp-python {llama_cpp.__version__}",
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "prompt": PROMPT,
        "ids": {text: model.tokenize(text.encode(), add_bos=False) for text in TEXTS},
        "as stored": as_stored,
        "as f32": as_f32,
    }
    OUT.write_text(json.dumps(reference, indent=1, ensure_ascii=True) + "\n")
    print(f"{OUT.name}: {OUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
