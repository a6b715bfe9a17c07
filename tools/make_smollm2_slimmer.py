"""Measure what SmolLM2 could do without, for the notebooks: minutes of work, stored as text.

    python tools/make_smollm2_slimmer.py TEXT.txt    # writes notebooks/smollm2_slimmer.json

TEXT.txt is an English text; that of the stored file is Alice's Adventures in Wonderland, from its
first chapter on (https://www.gutenberg.org/ebooks/11).
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
from pathlib import Path

from llama_edu.models import locate
from llama_edu.models.known import known_model

OUT = Path(__file__).resolve().parent.parent / "notebooks" / "smollm2_slimmer.json"
EXPERIMENTS = ("neurons", "neurons_and_pages", "slimmer")


def main() -> None:
    """Run each experiment and keep its table and its numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--only", choices=EXPERIMENTS, help="measure one, keep the others")
    arguments = parser.parse_args()
    model = known_model("smollm2")
    assert model is not None
    found = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    found["file"], found["sha256"] = locate("smollm2").name, model.sha256
    for name in EXPERIMENTS if arguments.only is None else (arguments.only,):
        measure = getattr(importlib.import_module(f"llama_edu.experiments.{name}"), name)
        record = measure("smollm2", text_file=arguments.text)
        command = f"llama-edu experiment {name.replace('_', '-')} --file smollm2"
        found[name] = {
            "command": f"{command} --text-file {arguments.text.name}",
            "table": str(record),
            "numbers": dataclasses.asdict(record),
        }
        OUT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
