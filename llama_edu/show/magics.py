"""%%pages and %%faults: which pages of a weight file a cell touched, and its page faults.

    %load_ext llama_edu

    %%pages -m llama
    text = "".join(llama.generate("Once upon a time", 8))

The cell runs as under %%time, with the notebook's own names: its last expression is its value, and
its errors are raised.
"""

from __future__ import annotations

import ast
from typing import Any

from llama_edu.errors import LlamaEduError, RequestError
from llama_edu.llama import Llama
from llama_edu.pages.faults import FaultCounter, FaultCounts
from llama_edu.pages.lab import PageLab
from llama_edu.pages.record import Record
from llama_edu.pages.residency import Residency, evict
from llama_edu.show.figures.page_map import records_figure
from llama_edu.show.runtime.optional import import_optional
from llama_edu.show.text.page_map import text_map

magic: Any = import_optional("IPython.core.magic", "%load_ext llama_edu")
arguments: Any = import_optional("IPython.core.magic_arguments", "%load_ext llama_edu")
display: Any = import_optional("IPython.display", "%load_ext llama_edu").display

#: The names that the extension adds, as line and as cell magics.
NAMES = ("pages", "faults")

#: Each option and how many words it takes; what comes after is code, as in "%pages -1 * x".
_N_WORDS = {"-m": 2, "--model": 2, "-o": 2, "--output": 2, "-q": 1, "--quiet": 1, "--cold": 1}


@magic.magics_class
class PageMagics(magic.Magics):
    """The magics of this package; `%load_ext llama_edu` registers them."""

    @magic.no_var_expand
    @arguments.magic_arguments()
    @arguments.argument("-m", "--model", help="a Llama that was loaded with a lab, or a PageLab")
    @arguments.argument("-o", "--output", metavar="NAME", help="keep the record under this name")
    @arguments.argument("-q", "--quiet", action="store_true", help="show nothing")
    @arguments.argument(
        "--cold", action="store_true", help="ask the system to forget the file's pages first"
    )
    @arguments.argument("code", nargs="*", help="what to run, in the line form")
    @magic.line_cell_magic
    @magic.output_can_be_silenced
    def pages(self, line: str, cell: str | None = None) -> object:
        """Run code and show which pages of a weight file it touched, as a table and as a map."""
        args, code = self._split(self.pages, line, cell)
        lab = self._lab(args.model)
        run = self._compiled(code)
        left = _make_cold(lab) if args.cold else None
        with lab.record("this cell" if cell is not None else "this line") as record:
            value = run()
        if args.output:
            self.shell.user_ns[args.output] = record
        if not args.quiet:
            if left is not None:
                print(_cold_line(left))
            _show(record)
        return value

    @magic.no_var_expand
    @arguments.magic_arguments()
    @arguments.argument("-m", "--model", help="the model or lab whose file --cold evicts")
    @arguments.argument("-o", "--output", metavar="NAME", help="keep the counts under this name")
    @arguments.argument("-q", "--quiet", action="store_true", help="show nothing")
    @arguments.argument(
        "--cold", action="store_true", help="ask the system to forget the file's pages first"
    )
    @arguments.argument("code", nargs="*", help="what to run, in the line form")
    @magic.line_cell_magic
    @magic.output_can_be_silenced
    def faults(self, line: str, cell: str | None = None) -> object:
        """Run code and count the page faults of this process while it runs."""
        args, code = self._split(self.faults, line, cell)
        run = self._compiled(code)
        left = _make_cold(self._lab(args.model)) if args.cold else None
        with FaultCounter() as counter:
            value = run()
        if args.output:
            self.shell.user_ns[args.output] = counter.counts
        if not args.quiet:
            if left is not None:
                print(_cold_line(left))
            print(_faults_line(counter.counts))
        return value

    def _split(self, function: Any, line: str, cell: str | None) -> tuple[Any, str]:
        """The options, and the code to run.

        In the line form the code is everything from its first word on, quotes included.
        """
        options, rest = _options_of(line)
        args = arguments.parse_argstring(function, options)
        if cell is None and not rest:
            name = function.__name__
            raise RequestError(
                f"%{name}: no code, expected some after the options; or %%{name} above a cell"
            )
        if cell is not None and rest:
            raise RequestError(
                f"%%{function.__name__}: {rest!r} is on the line of the options, expected the code "
                f"below"
            )
        return args, rest if cell is None else cell

    def _lab(self, expression: str | None) -> PageLab:
        """The lab that -m names, or the only one among the user's names."""
        names = self.shell.user_ns
        if expression is None:
            labs = {id(lab): lab for lab in map(_lab_of, list(names.values())) if lab}
            if len(labs) != 1:
                raise RequestError(
                    f"%pages: {len(labs)} labs among your names, expected one; say which with "
                    f"-m MODEL, a Llama from llama_edu.load(path, lab=lab) or a PageLab"
                )
            return labs.popitem()[1]
        try:
            found = eval(expression, names)
        except NameError:
            raise RequestError(
                f"-m {expression}: no such name, expected a Llama that was loaded with a lab, or "
                f"a PageLab"
            ) from None
        lab = _lab_of(found)
        if lab is None:
            raise RequestError(
                f"-m {expression}: is a {type(found).__name__} without a lab, expected a Llama "
                f"from llama_edu.load(path, lab=PageLab.open(path)), or a PageLab"
            )
        return lab

    def _compiled(self, code: str) -> Any:
        """A function that runs the code in the user's names and returns its last expression."""
        shell = self.shell
        tree = shell.transform_ast(shell.compile.ast_parse(shell.transform_cell(code)))
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            last = ast.Expression(tree.body.pop().value)
        where = shell.compile.cache(code)  # so that a traceback can show the line
        body = shell.compile(tree, where, "exec")
        value = shell.compile(last, where, "eval") if last else None

        def run() -> object:
            exec(body, shell.user_ns)
            return eval(value, shell.user_ns) if value else None

        return run


def _lab_of(candidate: object) -> PageLab | None:
    if isinstance(candidate, Llama):
        candidate = candidate.lab
    return candidate if isinstance(candidate, PageLab) else None


def _options_of(line: str) -> tuple[str, str]:
    """The options at the start of a line, and the code after them, untouched."""
    words = line.split(" ")
    n = 0
    while n < len(words) and (words[n] in _N_WORDS or not words[n]):
        n += _N_WORDS.get(words[n], 1)
    return " ".join(words[:n]), " ".join(words[n:]).strip()


def _make_cold(lab: PageLab) -> Residency:
    """Ask the system to drop the file from the page cache; what is still there."""
    # pages in this process's page table would stay
    lab.backend.arm()
    return evict(lab.path).after


def _cold_line(left: Residency) -> str:
    if not left.n_resident:
        return "cold: none of the file's pages was in memory at the start"
    return (
        f"not quite cold: {left.n_resident:,} of {len(left.pages):,} pages stayed in memory; "
        f"another process uses them, or the file system is in memory"
    )


def _faults_line(counts: FaultCounts | None) -> str:
    if counts is None:
        return "faults: not counted on this system"
    return (
        f"faults: {counts}, of the whole process; not an amount of memory, because one fault can "
        f"map many pages"
    )


def _show(record: Record) -> None:
    """Show the table, and the map under it: a figure where one can be drawn, else text."""
    display({"text/plain": str(record), "text/html": record._repr_html_()}, raw=True)
    if record.pages is None:
        return
    try:
        figure = records_figure(record)
    except LlamaEduError:  # no matplotlib
        print(text_map(record))
    else:
        display(figure)
