r"""Make data/stories-moe or data/stories-relu from a training run: the GGUF file and its card.

    python tools/bundle_fine_tuned.py --run run-moe --model data/stories --corpus corpus \
        --out data/stories-moe --hardware "2 cores of ..."

No number in the card is entered manually. The folder's name is the model's.
"""

import argparse
import json
import tempfile
from pathlib import Path

import sentencepiece
import torch
import train_moe
import train_relu
from export_huggingface import is_moe, write_folder
from fine_tuned_card import card
from make_corpus import read_stories
from measure_fine_tuned import EMBEDDING, MATRICES, as_stored, measure
from sample_stories import load_exported
from story_model import MAX_SEQ_LEN
from train_stories import read_sequences

from llama_edu.convert import convert
from llama_edu.loading import load
from llama_edu.transformer.sampling import SamplingSettings


def sampled(path, n_samples, temperature, train_texts):
    """Stories that this package writes from the file, from seeds 1 to n_samples."""
    samples = []
    with load(path, arithmetic="float32") as llama:
        for seed in range(1, n_samples + 1):
            settings = SamplingSettings(temperature)
            generation = llama.generate_tokens("", MAX_SEQ_LEN, settings, seed=seed)
            for _ in generation:
                pass
            samples.append(
                {
                    "seed": seed,
                    "text": generation.text,
                    "ended": generation.reason == "eos",
                    "in_train": generation.text in train_texts,
                }
            )
    return samples


def main():
    parser = argparse.ArgumentParser(description="Make a bundled model from a training run.")
    parser.add_argument("--run", type=Path, required=True, help="folder with checkpoint and log")
    parser.add_argument("--model", type=Path, required=True, help="data/stories")
    parser.add_argument("--corpus", type=Path, required=True, help="folder from make_corpus.py")
    parser.add_argument("--out", type=Path, required=True, help="data/stories-moe, for example")
    parser.add_argument("--hardware", required=True, help="in general terms")
    parser.add_argument("--n-losses", type=int, default=1000, help="held-out stories, at most")
    parser.add_argument("--n-samples", type=int, default=10, help="seeds 1 to this")
    parser.add_argument("--temperature", type=float, default=0.8)
    args = parser.parse_args()
    state = torch.load(args.run / "checkpoint.pt", weights_only=True)
    log = (args.run / "log.jsonl").read_text(encoding="utf-8")
    args.out.mkdir(parents=True, exist_ok=True)
    gguf = args.out / f"{args.out.name}.gguf"
    tokenizer_path = args.model / "tokenizer.model"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_folder(state["model"], tokenizer_path, folder)
        convert(folder, gguf, to="gguf", type=MATRICES, embedding_type=EMBEDDING)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_path))
    measured = measure(
        as_stored(state["model"]),
        load_exported(args.model, tokenizer.get_piece_size()),
        read_sequences(args.corpus / "held_out.txt", tokenizer)[: args.n_losses],
    )
    train_texts = set(read_stories(args.corpus / "train.txt"))
    measured["temperature"] = args.temperature
    measured["samples"] = sampled(gguf, args.n_samples, args.temperature, train_texts)
    program = train_moe if is_moe(state["model"]) else train_relu
    text = card(
        state,
        [json.loads(line) for line in log.splitlines()],
        measured,
        [gguf],
        args.out.name,
        args.hardware,
        {name: program.parser().get_default(name) for name in state["arguments"]},
    )
    (args.out / "README.md").write_text(text, encoding="utf-8")
    print(f"{gguf}: {gguf.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
