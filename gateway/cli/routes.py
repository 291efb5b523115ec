"""`linkspan routes test`: run the examples that the routes of a configuration carry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import Json
from gateway.cli.output import DONE, FAILED, command, line, record, styled, table, visible
from gateway.cli.settings import load_settings

if TYPE_CHECKING:
    from routing.examples import ExampleResult

app = typer.Typer(help="The routes of a configuration, offline.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Work on the routes of a configuration."""  # without a callback typer makes the only command the group itself


@app.command("test")
@command
def try_examples(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration, YAML or TOML.")],
    as_json: Json = False,
) -> int:
    """Run every example of every route; exit code 1 when one does not hold, 2 for a faulty configuration."""
    loaded, _ = load_settings(file, examples=False)
    from gateway.config.routing import workflow_topics
    from routing.examples import run_examples
    from routing.route_spec import compile_route

    topics = workflow_topics(loaded.config.workflows)
    routes = [compile_route(spec, topics) for spec in loaded.config.routes]
    results = [result for route in routes for result in run_examples(route)]
    without = [route.name for route in routes if not route.examples]
    failed = sum(not result.passed for result in results)
    if as_json:
        counts = {"passed": len(results) - failed, "failed": failed}
        record({"ok": not failed, **counts, "examples": [_told(each) for each in results], "without": without})
    else:
        _show(results, without)
    return FAILED if failed else DONE


def _told(result: ExampleResult) -> dict[str, Any]:
    told = {"route": result.route, "example": result.name, "at": result.at, "passed": result.passed, "got": result.got}
    return told | ({"faults": result.faults} if result.faults else {})


def _show(results: list[ExampleResult], without: list[str]) -> None:
    if results:
        rows = [
            ["ok" if each.passed else "FAILED", each.route, visible(each.name), visible(each.at), visible(each.got)]
            for each in results
        ]
        table(rows, ["", "ROUTE", "EXAMPLE", "GIVEN AT", "GOT"])
    for each in results:
        for fault in each.faults:
            line(f"{styled('failed', 'red')}  {each.route}, {visible(each.name)}: {visible(fault)}")
    for name in without:
        line(f"{styled('note', 'yellow')}  {name} has no examples")
    failed = sum(not each.passed for each in results)
    told = f"{failed} of {_count(len(results))} failed" if failed else f"{_count(len(results))}: all hold"
    line(styled(told, "red" if failed else "green"))


def _count(number: int) -> str:
    return f"{number} example{'' if number == 1 else 's'}"
