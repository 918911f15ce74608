"""The command line: arguments to a request, exit codes. No decisions, and nothing imported before it is needed."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from hotlap.errors import HotlapError

app = typer.Typer(
    help="Make an unmodified PyTorch training script fast, and prove that it still learns the same.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Everything from the script on belongs to the script.
TRAINING = {"allow_interspersed_args": False, "ignore_unknown_options": False}
OPTIONS_WITH_VALUE = (
    *("--budget", "--out", "--python", "--seed", "--set", "--only", "--skip", "--allow", "--plan", "--sandbox"),
    *("--planned-steps", "--against", "--memory-limit", "--goal", "--slowdown"),
    *("--arm", "--batch-size", "--metric", "--mode", "--target", "--storage", "--ray"),
)

Command = Annotated[
    list[str], typer.Argument(help="train.py ARGS, -m module ARGS, or -- launcher ARGS", show_default=False)
]
Out = Annotated[Path | None, typer.Option(help="hotlap's folder for this script.", show_default=".hotlap/<script>")]
Python = Annotated[
    str | None, typer.Option(help="The training's interpreter.", show_default="the active environment's")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; all else goes to stderr.")]
Budget = Annotated[str, typer.Option(help="Time for everything: 90s, 5m, 1h.")]
Allow = Annotated[str, typer.Option(help="The loosest contract to accept: exact, rounding, reduced.")]
Sandbox = Annotated[str, typer.Option(help="How trials are kept off your files: auto, overlay, copy, none.")]


def main() -> None:
    """Run the command line; every expected failure is one message and an exit code."""
    arguments = split(sys.argv[1:])
    try:
        app(args=arguments, standalone_mode=True, prog_name="hotlap")
    except HotlapError as error:
        running = arguments[:1] == ["run"]
        print(f"hotlap: {error}\n        (see docs/errors.md, {error.slug})", file=sys.stderr)
        sys.exit(125 if running else 2 if error.slug in _USAGE else 1)


_USAGE = (
    *("no-script", "no-such-script", "no-such-command", "no-such-python", "bad-budget", "bad-slowdown", "bad-setting"),
    *("unknown-knob", "bad-choice", "nothing-to-verify", "no-version", "plan-missing", "unknown-rule"),
    *("no-optuna", "bad-storage", "no-ray", "bad-cluster"),
)


def split(arguments: list[str]) -> list[str]:
    """Put `--` before a module or launcher, so that its own flags are left alone."""
    position = 1
    while position < len(arguments) and arguments[position].startswith("-"):
        if arguments[position] == "-m":
            return [*arguments[:position], "--", *arguments[position:]]
        if arguments[position] == "--":
            return arguments
        position += 2 if arguments[position] in OPTIONS_WITH_VALUE else 1
    return arguments


@contextlib.contextmanager
def interruptible(how: str) -> Generator[None]:
    """Ctrl-C and SIGTERM end the trial under way, keep what was learnt and say how to go on."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nhotlap: interrupted; {how}.", file=sys.stderr)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGTERM, previous)


@app.command(context_settings=TRAINING)
def check(
    command: Command,
    out: Out = None,
    python: Python = None,
    json: Json = False,
    model: Annotated[bool, typer.Option("--model", help="What each module costs, the most wasteful first.")] = False,
    memory: Annotated[
        bool, typer.Option("--memory", help="What holds the memory, and the largest batch that fits.")
    ] = False,
    data: Annotated[bool, typer.Option("--data", help="Where fetching a batch spends its time, line by line.")] = False,
    memory_limit: Annotated[
        str | None,
        typer.Option(help="What a batch is to fit into: 8GiB, 24GB.", show_default="what there is, less 10 %"),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time for everything: 90s, 5m, 1h.", show_default="30s; 2m with --memory")
    ] = None,
    sandbox: Sandbox = "auto",
) -> None:
    """One observed run: where a step's time goes, and what could be tried."""
    from hotlap import commands
    from hotlap.check import Asked
    from hotlap.check import check as run_check

    with interruptible("nothing was changed"):
        asked = Asked.of(model=model, memory=memory, data=data, memory_limit=memory_limit)
        run_check(commands.Job(tuple(command), out, python, json, sandbox), budget or asked.usual_budget, asked)


@app.command(context_settings=TRAINING)
def tune(
    command: Command,
    out: Out = None,
    python: Python = None,
    json: Json = False,
    budget: Budget = "5m",
    seed: Annotated[int, typer.Option(help="All randomness of the tune comes from it.")] = 1,
    allow: Allow = "reduced",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KNOB=VALUE: decided, not searched. Repeatable.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Try these knobs and no others. Repeatable.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Leave these knobs out. Repeatable.")] = None,
    goal: Annotated[str, typer.Option(help="What to look for: speed, or memory that a step holds.")] = "speed",
    slowdown: Annotated[
        str | None, typer.Option(help="How much slower a step may be for --goal memory.", show_default="10%")
    ] = None,
    largest_batch: Annotated[
        bool, typer.Option("--largest-batch", help="With --goal memory: the largest batch that fits, before and after.")
    ] = False,
    plan: Annotated[Path, typer.Option(help="Where the plan is written.")] = Path("hotlap.toml"),
    planned_steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps of the real run: a plan must earn its start-up back.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from where a tune was interrupted, or refine it.")] = False,
    sandbox: Sandbox = "auto",
) -> None:
    """Find what makes the training faster, or smaller; prove it, prove that learning is unchanged, and write a plan."""
    from hotlap import commands

    with interruptible("the same command with --resume after `tune` goes on from there"):
        job = commands.Job(tuple(command), out, python, json, sandbox)
        request = replace(
            commands.wishes(allow, set_ or [], only or [], skip or [], planned_steps),
            goal=commands.goal(goal, slowdown, grow=largest_batch),
            slowdown=commands.share("10%" if slowdown is None else slowdown),
            grow=largest_batch,
        )
        answered = commands.tune(job, request, budget, seed, plan, resume=resume)
    sys.exit(0 if answered else 1)


@app.command(context_settings=TRAINING)
def run(
    command: Command,
    plan: Annotated[Path | None, typer.Option(help="The plan.", show_default="./hotlap.toml")] = None,
    allow: Annotated[str, typer.Option(help="The loosest contract to apply; recipe: a race's winner too.")] = "reduced",
    python: Python = None,
    out: Out = None,
    anyway: Annotated[bool, typer.Option(help="Apply a plan that was made for another device or torch.")] = False,
) -> None:
    """Train for real, under the plan. The exit code and the output are the script's own."""
    from hotlap import commands

    commands.run(commands.Job(tuple(command), out, python, False, "none"), plan, allow, anyway=anyway)


@app.command(context_settings=TRAINING)
def race(
    command: Command,
    out: Out = None,
    python: Python = None,
    json: Json = False,
    budget: Annotated[
        str, typer.Option(help="How thorough: quick, standard, thorough; or time for everything: 30m, 2h.")
    ] = "standard",
    wide: Annotated[bool, typer.Option("--wide", help="Try the less usual rules too.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Try these rules and no others. Repeatable.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Leave these rules out. Repeatable.")] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(help="Race this variant of the command line instead of rules, as '--batch-size 64'. Repeatable."),
    ] = None,
    batch_sizes: Annotated[bool, typer.Option("--batch-sizes", help="Race other batch sizes, not rules.")] = False,
    batch_size: Annotated[
        list[int] | None, typer.Option(help="Race this batch size instead, rate and all. Repeatable.")
    ] = None,
    layer_sizes: Annotated[bool, typer.Option("--layer-sizes", help="Race layer sizes that hardware divides.")] = False,
    metric: Annotated[
        str | None,
        typer.Option(help="What is raced for, a regular expression on the output.", show_default="the training loss"),
    ] = None,
    mode: Annotated[str, typer.Option(help="Whether --metric is better when it is min or max.")] = "min",
    target: Annotated[
        float | None, typer.Option(help="The value to reach.", show_default="what four in five untouched runs reach")
    ] = None,
    lr_finder: Annotated[
        bool, typer.Option("--lr-finder", help="A range test of the script's own rate first, to bracket the search.")
    ] = False,
    seed: Annotated[int, typer.Option(help="All randomness of the race comes from it.")] = 1,
    plan: Annotated[Path, typer.Option(help="Where a proven winner is written.")] = Path("hotlap.toml"),
    resume: Annotated[bool, typer.Option(help="Go on from where a race was interrupted.")] = False,
    storage: Annotated[
        str | None, typer.Option(help="Optuna's storage, as a URL.", show_default="SQLite beside the logbook")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="Train on a Ray cluster: auto, local or HOST:PORT.", show_default="this machine"),
    ] = None,
    sandbox: Sandbox = "auto",
) -> None:
    """Which optimizer, with which settings, brings the training to its goal soonest."""
    from hotlap import commands
    from hotlap.race import command as race_command

    with interruptible("the same command with --resume after `race` goes on from there"):
        job = commands.Job(tuple(command), out, python, json, sandbox)
        sizes = batch_size or ([] if batch_sizes else None)
        wish = race_command.wishes(budget, only or [], skip or [], arm or [], metric, mode, target, sizes, layer_sizes)
        wish = replace(wish, wide=wide, lr_finder=lr_finder)
        answered = race_command.race(job, wish, seed, plan, storage, ray, resume=resume)
    sys.exit(0 if answered else 1)


@app.command(context_settings=TRAINING)
def verify(
    command: Command,
    plan: Annotated[Path | None, typer.Option(help="The plan.", show_default="./hotlap.toml")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KNOB=VALUE, in place of a plan. Repeatable.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another version of the script, in place of a plan.", show_default=False)
    ] = None,
    allow: Allow = "reduced",
    out: Out = None,
    python: Python = None,
    json: Json = False,
    budget: Budget = "5m",
    seed: Annotated[int, typer.Option(help="All randomness of the trials comes from it.")] = 1,
    sandbox: Sandbox = "auto",
) -> None:
    """The judge alone: is this faster, does it learn the same? Exit code 0 both proven, 3 not so, 1 no answer."""
    from hotlap import commands

    with interruptible("nothing was decided"):
        job = commands.Job(tuple(command), out, python, json, sandbox)
        code = commands.verify(job, plan, against, allow, set_ or [], budget, seed)
    sys.exit(code)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="hotlap's folder of a script.")], json: Json = False) -> None:
    """Show the last tune, race or verification again, from its logbook; the first two write report.html and .json."""
    from hotlap import published

    published.report(folder, as_json=json)


@app.command()
def doctor(python: Python = None, json: Json = False) -> None:
    """The machine, torch and its libraries, limits, and measured ceilings."""
    from hotlap import commands

    commands.doctor(python, as_json=json)


@app.command()
def explain(id: Annotated[str, typer.Argument(help="A knob or an audit.")]) -> None:
    """What a knob changes, why it can help, when it cannot."""
    from hotlap import commands

    commands.explain(id)


@app.command(name="list")
def list_(json: Json = False) -> None:
    """Every knob and audit."""
    from hotlap import commands

    commands.listing(as_json=json)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> Any:
    if version:
        from hotlap import __version__

        print(f"hotlap {__version__}")
        raise typer.Exit
