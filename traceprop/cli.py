"""The command line: `traceprop demo | dump | doctor | bench`. What a command needs is imported when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from traceprop.errors import TracepropError

app = typer.Typer(
    name="traceprop",
    help="Which rows of which files made a prediction, through which steps, and how to take them out again.\n\n"
    "Start with: traceprop demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def demo(
    model: Annotated[
        Literal["sklearn", "torch", "jax"],
        typer.Option(help="Who trains: `sklearn`, `torch` or `jax` (the same model, fitted by each)."),
    ] = "sklearn",
    seed: Annotated[
        int, typer.Option(help="Which of the wrong predictions is asked about; the same seed, the same figures.")
    ] = 0,
    out: Annotated[Path, typer.Option(help="The folder for the data files and the reports.")] = Path("traceprop-demo"),
    json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON on stdout, and nothing else there.")
    ] = False,
) -> None:
    """The whole way on real Census rows: two CSV files, an explained prediction, a corrected model, a report.

    Two offices deliver raw CSV files. A traced function prepares them, a logistic regression learns from them, and gets
    a person wrong whom it has never seen. The demo names the lines of the files that misled it, the steps that those
    rows went through, takes the 50 worst rows of one office out of the model without training it again, and compares
    the result with models really retrained.

    Example: `traceprop demo --seed 3 --out my-demo`
    """
    from traceprop.demo.run import main

    main(model=model, seed=seed, out=out, as_json=json)


@app.command()
def dump(
    function: Annotated[
        str, typer.Argument(metavar="FILE.py:FUNCTION", help="The function to trace; or module:function.")
    ],
    arg: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="A parameter: the table of a CSV file, or a type such as `f64[N,4]`."),
    ] = None,
    array: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PATH", help="A parameter, as the array of a CSV file of numbers.")
    ] = None,
    na: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A text that means missing, such as `?`.")
    ] = None,
    stage: Annotated[
        str, typer.Option(help="`traced`, `optimized`, `both`, or the name of a pass: the program behind it.")
    ] = "both",
    print_after_all: Annotated[
        bool, typer.Option("--print-after-all", help="The program behind every pass, what changed, and what it took.")
    ] = False,
) -> None:
    """Print the program that a function is traced to, before and after passes, with the cells that every line reads.

    Nothing of the function's work is done. A function that isn't decorated is traced as with `@tp.trace`.

    Example: `traceprop dump prep.py:prepare --arg north=north.csv --arg south=south.csv --na '?'`

    Example: `traceprop dump prep.py:scale --arg x='f64[N,4]' --print-after-all`
    """
    from traceprop.commands.dump import dump_function

    text = dump_function(function, arg or [], array or [], na or [], stage, print_after_all)
    if sys.stdout.isatty():
        from rich.console import Console

        from traceprop.ir.page import rich_text

        Console(soft_wrap=True).print(rich_text(text), end="")
    else:
        sys.stdout.write(text)


@app.command()
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Tell what is installed: versions, compiled kernels or their NumPy twins, extras, data sets, and whether it works.

    Example: `traceprop doctor`
    """
    from traceprop.commands.doctor import main

    raise typer.Exit(main(as_json=json))


@app.command()
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Which benchmarks; all without a name.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A smaller run, whose figures are not kept.")] = False,
) -> None:
    """Run benchmarks, in a checkout of the project.

    Example: `traceprop bench overhead --quick`
    """
    import subprocess

    if not Path("benchmarks/__main__.py").is_file():
        raise BenchmarksError(
            "the benchmarks are no part of the installed package: run `traceprop bench` in the top folder of a checkout"
        )
    command = [sys.executable, "-m", "benchmarks", *(names or []), *(["--quick"] if quick else [])]
    raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603


class BenchmarksError(TracepropError, FileNotFoundError):
    """`traceprop bench` outside a checkout."""


def main() -> None:
    """Run the command line; errors made on purpose are one message and exit code 1, without a traceback."""
    try:
        app()
    except TracepropError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from None
    except BrokenPipeError:
        # The reader of our output (`| head`) has seen enough.
        sys.stderr.close()
        raise SystemExit(141) from None
    except OSError as error:
        # A full disk, a folder that may not be written to: the system's own words say it.
        sys.stderr.write(f"error: {error.filename or 'writing'}: {error.strerror or error}\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
