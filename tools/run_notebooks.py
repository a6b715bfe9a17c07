"""Run every notebook from top to bottom in a fresh kernel and store its outputs.

    python tools/run_notebooks.py              # all of notebooks/
    python tools/run_notebooks.py 00 03        # those whose names begin with 00 or 03

A second run changes nothing. What differs between runs (random ids of widgets, paths in tracebacks)
is left out. A stored output is kept if the new one is the same after sanitizing. Outputs that
depend on the machine (nbval-ignore-output) are kept too, as long as neither the cell nor one before
it has changed; --fresh replaces all of them. A notebook that fails is left as it was.
"""

import argparse
import configparser
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
CELL_TIMEOUT_S = 120
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class ThisPython(KernelSpecManager):
    """Has one kernel: the interpreter that runs this script, whatever else is registered."""

    def get_kernel_spec(self, kernel_name):
        """The same for every name."""
        # the log would warn that messages to the kernel, on this machine, are not encrypted
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=[*argv, "--log-level=ERROR"], language="python")


class ThisPythonManager(AsyncKernelManager):
    """Starts the kernel of ThisPython."""

    def __init__(self, **kwargs):
        super().__init__(kernel_spec_manager=ThisPython(), **kwargs)


def run(path, *, fresh):
    """Execute a notebook and store its outputs; returns whether the file changed."""
    before = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(before, as_version=4)
    clear(notebook)
    client = NotebookClient(
        notebook,
        kernel_manager_class=ThisPythonManager,
        timeout=CELL_TIMEOUT_S,
        store_widget_state=False,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    # the kernel's working directory is the notebooks' folder, where the clone is not importable
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    client.execute(env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)})
    normalize(notebook)
    if not fresh:
        keep_what_says_the_same(notebook, nbformat.reads(before, as_version=4), sanitizer(path))
    nbformat.validate(notebook)
    after = nbformat.writes(notebook) + "\n"
    if after != before:
        path.write_text(after, encoding="utf-8")
    return after != before


def clear(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def normalize(notebook):
    """Leave out what differs between two runs or two machines, and nothing else."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type != "code":
            continue
        cell.outputs = merged_streams(cell.outputs)
        for output in cell.outputs:
            if output.output_type == "error":  # the frames above name paths of this machine
                output.traceback = [f"{output.ename}: {output.evalue}"]
            if "data" in output:
                # the id of a widget that no longer exists; the text beside it stays
                output.data.pop(WIDGET_VIEW, None)


def keep_what_says_the_same(notebook, stored, sanitize):
    """Put back stored outputs that differ from the new ones only by the machine."""
    unchanged = True
    for new, old in zip(notebook.cells, stored.cells, strict=True):
        if new.cell_type != "code":
            continue
        unchanged = unchanged and new.source == old.get("source")
        of_this_machine = "nbval-ignore-output" in new.metadata.get("tags", [])
        is_kept = of_this_machine or says(new, sanitize) == says(old, sanitize)
        if unchanged and is_kept and kinds(new) == kinds(old):
            new.outputs = old.outputs
        else:
            unchanged = False


def kinds(cell):
    """The kinds of a cell's outputs: printed, shown as text, as an image, ..."""
    return [
        (output.output_type, sorted(output.get("data", {}))) for output in cell.get("outputs", [])
    ]


def says(cell, sanitize):
    """The texts and the HTML of a cell's outputs after sanitizing, as nbval compares them."""
    return [
        sanitize(said)
        for output in cell.get("outputs", [])
        for said in (
            output.get("text") or output.get("data", {}).get("text/plain") or output.evalue,
            output.get("data", {}).get("text/html", ""),
        )
    ]


def sanitizer(path):
    """A function that applies the rules of sanitize.cfg, next to the notebook, to a text."""
    rules = configparser.RawConfigParser()
    rules.read(path.with_name("sanitize.cfg"))

    def sanitize(text):
        for name in rules.sections():
            text = re.sub(rules[name]["regex"], rules[name]["replace"], text)
        return text

    return sanitize


def merged_streams(outputs):
    """Join adjacent outputs of one stream: how they were divided depends on timing."""
    merged = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if output.output_type == "stream" and last.get("name") == output.name:
            last["text"] += output.text
        else:
            merged.append(output)
    return merged


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="how notebooks' names begin (default: all)")
    parser.add_argument("--folder", type=Path, default=ROOT / "notebooks")
    parser.add_argument("--fresh", action="store_true", help="replace every stored output")
    args = parser.parse_args()
    chosen = [
        path
        for path in sorted(args.folder.glob("*.ipynb"))
        if not args.names or path.name.startswith(tuple(args.names))
    ]
    if not chosen:
        sys.exit(f"{args.folder}: no notebook begins with {' or '.join(args.names) or 'anything'}")
    failed = False
    for path in chosen:
        start = time.perf_counter()
        try:
            changed = run(path, fresh=args.fresh)
        except CellExecutionError as error:
            failed = True
            print(f"{path.name}: failed\n{error}", file=sys.stderr)
            continue
        elapsed_s = time.perf_counter() - start
        print(f"{path.name}: {elapsed_s:.1f} s, {'changed' if changed else 'as it was'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
