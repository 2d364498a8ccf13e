"""`python -m benchmarks NAME... [--quick]`: run benchmarks, print their tables, and keep their figures."""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks.harness import known, tables, write_result


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of: {', '.join(known())}")
    parser.add_argument("--quick", action="store_true", help="a smaller run that shows that it works; nothing is kept")
    parser.add_argument(
        "--task", action="append", default=[], metavar="TASK", help="of `lds`: this task only; may be repeated"
    )
    options = parser.parse_args(arguments)
    names = options.names or known()
    if unknown := sorted(set(names) - set(known())):
        parser.error(f"no benchmark called {', '.join(unknown)}; there are: {', '.join(known())}")
    if options.task and names != ["lds"]:
        parser.error("--task chooses among the tasks of `lds`, and goes with it alone")
    chosen = {"tasks": options.task} if options.task else {}
    for name in names:
        result = importlib.import_module(f"benchmarks.{name}").main(quick=options.quick, **chosen)
        print_table(name, result)
        if not options.quick:
            write_result(name, result)
    return 0


def print_table(name: str, result: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not tables(result):
        console.print_json(data=result)
    for shown in tables(result):
        view = Table(title=name, title_justify="left")
        for position, title in enumerate(shown["head"]):
            view.add_column(title, justify="right" if position else "left")
        for row in shown["rows"]:
            view.add_row(*row)
        console.print(view)
        if shown["note"]:
            console.print(shown["note"], highlight=False)


if __name__ == "__main__":
    sys.exit(main())
