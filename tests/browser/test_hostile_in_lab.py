"""A file whose every text is markup, opened in every widget and repr: only text comes out."""

from __future__ import annotations

import time

import numpy as np
import pytest
from helpers.gguf_by_hand import Gguf, gguf_keys, gguf_shapes
from helpers.in_lab import assert_no_error_box, panel_of, shoot, text_of, wait_until

pytestmark = pytest.mark.browser

MARKUP = "<img src=x onerror='window.stolen=1'><script>window.stolen=1</script>"
EVIL = f"{MARKUP}\x1b[31m"
#: A file name cannot hold the slash of an end tag.
FILE_NAME = "<img src=x onerror='window.stolen=1'>.gguf"


def hostile_gguf() -> bytes:
    """A tiny LLaMA; half of its pieces, two values and a key of its metadata are markup."""
    g, rng = Gguf(), np.random.default_rng(3)
    infos, data = [], b""
    for name, shape in gguf_shapes().items():
        infos.append(g.info(name, shape[::-1], 0, len(data)))
        numbers = (0.4 * rng.standard_normal(shape)).astype("<f4")
        if name == "output.weight":
            numbers[:4] = 0  # neither an end nor a line break is likelier than the markup
        data += numbers.tobytes()
        data += bytes(-len(data) % 32)
    pieces = ["<unk>", "<s>", "</s>", "<0x0A>", f"\u2581{EVIL}", "b", EVIL]
    keys = gguf_keys(
        g,
        tokenizer__ggml__tokens=g.array("tokenizer.ggml.tokens", "string", pieces),
        general__name=g.kv("general.name", "string", EVIL),
        tokenizer__chat_template=g.kv("tokenizer.chat_template", "string", EVIL),
        evil=g.kv(f"evil.{MARKUP}", "string", EVIL),
    )
    return g.file(keys, infos, data)


SEE = """import llama_edu
from IPython.display import display
from llama_edu.files.layout import TensorSpec
from llama_edu.pages.lab import PageLab
from llama_edu.show import ComparisonWidget, GenerationStudio, GenerationWidget, PageMapWidget
from llama_edu.show.text.report import checkpoint_report
from llama_edu.transformer.cache import KVCache
llama = llama_edu.load(path)
settings = {"temperature": 1.0, "seed": 5}"""
REPRS = """display(llama, llama.checkpoint, *llama.checkpoint.tensors.values())
print(checkpoint_report(llama.checkpoint, tensors=True, metadata=True))
print(llama, llama.checkpoint, llama.tokenizer)
spec = TensorSpec(evil, "f32", (1024,), 4096, 4096, stored_name=evil)
display(spec)
lab = PageLab(path, {evil: spec})
with lab.record(evil) as record:
    _ = lab.view(evil).sum()
display(record)
print(record)
try:
    llama_edu.load(path + "<script>")
except llama_edu.errors.LlamaEduError as refusal:
    print(refusal)"""
RAW = "open(path, 'rb').read()[:900], llama.checkpoint.metadata"
GENERATION = """plain = GenerationWidget(path, prompt="b", n_tokens=6, **settings)
plain.start().wait(20)
plain"""
STUDIO = """studio = GenerationStudio(path, prompt="b", n_tokens=6, **settings)
studio.start().wait(20); studio.choose(1).look_ahead().wait(20)
studio"""
COMPARISON = """both = ComparisonWidget(path, prompt="b", n_tokens=6, left={}, right=settings)
both.start().wait(20)
both"""
XRAY = """xray = PageMapWidget(path, prompt="b", n_tokens=6, temperature=1.0, seed=5)
xray.start().wait(20)
xray"""
RECORDED = "PageMapWidget.of([record])"
FIGURES = "display(xray.figure()); display(PageMapWidget.of([record]).figure())"


@pytest.mark.timeout(150)
def test_markup_from_a_file_stays_text_in_every_widget_and_repr(run_cells, tmp_path):
    path = tmp_path / FILE_NAME
    path.write_bytes(hostile_gguf())
    dialogs = []
    page = run_cells(
        f"path, evil = {str(path)!r}, {EVIL!r}", SEE, REPRS, RAW, GENERATION, STUDIO, COMPARISON,
        XRAY, RECORDED, FIGURES,
    )  # fmt: skip
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    generation = panel_of(page, "generation")
    wait_until(lambda: MARKUP in text_of(generation))
    shoot(page, generation, "hostile-generation")
    xray = panel_of(page, "page-map")
    wait_until(lambda: MARKUP in xray.locator("[role=log]").inner_text())
    shoot(page, xray, "hostile-xray")

    outputs = page.locator(".jp-OutputArea-output")
    words = "\n".join(outputs.all_inner_texts())
    assert words.count(MARKUP) > 10, "the file's texts are not shown at all"
    assert words.count(FILE_NAME) > 5
    assert "\x1b" not in words
    # images that the widgets made themselves carry their bytes; the file's would ask for "x"
    asked = outputs.locator("img").evaluate_all("all => all.map(one => one.getAttribute('src'))")
    assert len(asked) >= 4
    assert all(source.startswith(("blob:", "data:image/png")) for source in asked), asked
    assert outputs.locator("script").count() == 0
    time.sleep(0.5)  # an image that fails to load would run its handler by now
    assert page.evaluate("() => window.stolen") is None
    assert dialogs == [] and page.foreign == []
    assert_no_error_box(page)
