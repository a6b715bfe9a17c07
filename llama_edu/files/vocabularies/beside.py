"""What the JSON files of a Hugging Face folder put around a text: BOS, EOS and a space.

The reference is AutoTokenizer of transformers 5.24, whose classes differ:

| class | BOS and EOS | space before a text | before " a" | after a special piece |
|---|---|---|---|---|
| LlamaTokenizer | only where stated | unless `add_prefix_space` is false | no | if `legacy` |
| any other, or none | only where stated | as the model says | unless `legacy` is false | same |
| the same, with tokenizer.json | its template | its normalizer or pre-tokenizer | same | same |

"Stated" is `add_bos_token` or `add_eos_token` of tokenizer_config.json. Where there is a
tokenizer.json, its template decides for every class, and these keys say nothing. A tokenizer.model
beside neither of the two is read as it is, with BOS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llama_edu.files.strict_json import read_object
from llama_edu.files.vocabularies.rows import json_beside

#: Llama 3's tokenizer.json has 17 MB and 280,147 merges, each of them a list.
MAX_BYTES, MAX_BRACKETS = 64 * 2**20, 2**20

#: Classes that put a space before a text themselves, whatever the vocabulary file says.
_LLAMA_CLASSES = ("LlamaTokenizer", "CodeLlamaTokenizer")


@dataclass(frozen=True)
class Surroundings:
    """What is put around a text.

    Attributes:
        add_bos, add_eos: pieces before and after it.
        adds_prefix: whether a space is put before it.
        doubles_space: whether that is done to a text that begins with a space, too.
        prefixes_every_part: whether text after a special piece gets such a space as well.
        is_llama_class: whether user-defined pieces are special in this sense, and the normalization
            of a tokenizer.model is not applied.
    """

    add_bos: bool
    add_eos: bool
    adds_prefix: bool
    doubles_space: bool
    prefixes_every_part: bool
    is_llama_class: bool


def surroundings_in(folder: Path, adds_prefix: bool) -> Surroundings | None:
    """What transformers puts around a text; None where no file of a tokenizer's says anything.

    A tokenizer.model alone is then read as sentencepiece and llama.cpp read it, with BOS.

    Args:
        adds_prefix: whether the tokenizer.model in the folder asks for a space before a text.
    """
    names = ("tokenizer.json", "tokenizer_config.json")
    if not any((folder / name).is_file() for name in names):
        return None
    path = folder / names[0]
    written = read_object(path, MAX_BYTES, MAX_BRACKETS) if path.is_file() else None
    return surroundings(folder, adds_prefix, written)


def surroundings(
    folder: Path, adds_prefix: bool, tokenizer_json: Mapping[str, object] | None
) -> Surroundings:
    """The same for a folder of Hugging Face's whose tokenizer.json, if any, has been read."""
    stated = json_beside(folder, "tokenizer_config.json")
    config = json_beside(folder, "config.json")
    name = str(stated.get("tokenizer_class") or config.get("tokenizer_class") or "")
    name = name.removesuffix("Fast")
    is_llama = name in _LLAMA_CLASSES and config.get("model_type") != "mistral"
    is_code = is_llama and name == "CodeLlamaTokenizer"
    if tokenizer_json is not None:
        add_bos, add_eos = template_ends(tokenizer_json.get("post_processor"))
    else:
        add_bos = bool(stated.get("add_bos_token", is_code))
        add_eos = bool(stated.get("add_eos_token"))
    if is_llama:
        prefix = stated.get("add_prefix_space")
        adds_prefix = prefix is None or bool(prefix)
        doubles, every = False, not is_code and bool(stated.get("legacy"))
    elif tokenizer_json is not None:
        adds_prefix, doubles, every = _written_prefix(tokenizer_json)
    else:
        doubles = every = bool(stated.get("legacy", True))
    return Surroundings(add_bos, add_eos, adds_prefix, doubles, every, is_llama)


def _written_prefix(values: Mapping[str, object]) -> tuple[bool, bool, bool]:
    """Whether a tokenizer.json puts a space before a text, doubles one, and adds it to each part.

    A normalizer prepends it to every part whatever it begins with; a Metaspace step leaves a part
    that begins with a space alone, and its scheme says whether it does so to the first part only.
    """
    if "'Prepend'" in str(values.get("normalizer")):
        return True, True, True
    steps = str(values.get("pre_tokenizer"))
    scheme = re.search(r"'prepend_scheme': '(first|always)'", steps)
    return scheme is not None, False, scheme is not None and scheme[1] == "always"


def template_ends(step: object) -> tuple[bool, bool]:
    """Whether a post-processor puts special pieces before and after a text."""
    items = _template(step)
    texts = [i for i, item in enumerate(items) if "Sequence" in item]
    if not texts:
        return False, False
    return any("SpecialToken" in item for item in items[: texts[0]]), any(
        "SpecialToken" in item for item in items[texts[-1] :]
    )


def first_of_template(step: object) -> str:
    """The name of the special piece with which a text begins; "" for none."""
    for item in _template(step):
        special = item.get("SpecialToken")
        if not isinstance(special, dict):
            break
        return str(special.get("id"))
    return ""


def _template(step: object) -> list[dict[str, object]]:
    """The items of `single` in a post-processor: what precedes and follows a text."""
    if not isinstance(step, dict):
        return []
    processors = step.get("processors")
    if isinstance(processors, list):
        return next((found for inner in processors if (found := _template(inner))), [])
    single = step.get("single")
    return [item for item in single if isinstance(item, dict)] if isinstance(single, list) else []
