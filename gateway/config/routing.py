"""Routes and workflows of the configuration: all that is wrong with each, circles, and their examples.

The language of routes is that of `routing.route_spec`; here its faults get their file and line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gateway.address import check_topic
from gateway.config.document import Document
from gateway.config.faults import KeyPath
from gateway.errors import InvalidAddress

if TYPE_CHECKING:
    from gateway.config.model import WorkflowConfig
    from routing.route_spec import RouteFault
    from routing.routes import Route

#: Routes in one configuration.
MAX_ROUTES = 1000


def workflow_topics(workflows: Mapping[str, WorkflowConfig]) -> dict[str, str]:
    """The topic of each workflow, which has its name where it is not said."""
    return {name: workflow.topic or name for name, workflow in workflows.items()}


def workflow_fault(name: str, topic: str | None, path: KeyPath, document: Document) -> bool:
    """Note what is wrong with a workflow's names; whether nothing is."""
    from routing.route_spec import workflow_name_fault

    fault = workflow_name_fault(name)
    if fault is not None:
        document.fault(path, fault)
        return False
    try:
        check_topic(topic or name)
    except InvalidAddress as error:
        document.fault(path if topic is None else (*path, "topic"), error.message)
        return False
    return True


def read_routes(
    value: Any, workflows: Mapping[str, str], document: Document, *, examples: bool
) -> tuple[Mapping[str, Any], ...]:
    """The routes that are right, as they were written. Faults go to the document; an example that does not
    hold is one where `examples` says so."""
    if value is None or value == []:
        return ()
    if not isinstance(value, list):
        document.fault(("routes",), "expected a list of routes")
        return ()
    if len(value) > MAX_ROUTES:
        document.fault(("routes",), f"has more than {MAX_ROUTES} routes")
        return ()
    # What routes need is loaded only where there are some: it would double the time that a start takes.
    from routing.route_spec import read_route

    routes: list[tuple[int, Route]] = []
    for number, spec in enumerate(value):
        route, faults = read_route(spec, workflows)
        for fault in faults:
            path = ("routes", number, *fault.where)
            document.fault(path, _hidden(_told(fault), path[:2], value, document))
        if route is not None:
            routes.append((number, route))
    _check_names(value, document)
    _check_circles(routes, document)
    if examples:
        _check_examples(routes, document)
    return tuple(route.written for _, route in routes)


def _told(fault: RouteFault) -> str:
    if fault.position is None:
        return fault.message
    return f"{fault.message} (at character {fault.position + 1})"


def _hidden(message: str, path: KeyPath, routes: Any, document: Document) -> str:
    """The message without values that came from outside, which may be secrets."""
    for hidden in document.hidden:
        if hidden[: len(path)] == path:
            value = routes
            for part in hidden[1:]:
                value = value[part]
            message = message.replace(str(value), "...") if value not in (None, "") else message
    return message


def _check_names(specs: Sequence[Any], document: Document) -> None:
    first: dict[str, int] = {}
    for number, spec in enumerate(specs):
        name = spec.get("name") if isinstance(spec, dict) else None
        if isinstance(name, str) and first.setdefault(name, number) != number:
            document.fault(("routes", number, "name"), f"is also the name of routes[{first[name]}]")


def _check_circles(routes: Sequence[tuple[int, Route]], document: Document) -> None:
    from routing.loops import loop_faults

    for place, message in loop_faults([route for _, route in routes]):
        document.fault(("routes", routes[place][0]), message)


def _check_examples(routes: Sequence[tuple[int, Route]], document: Document) -> None:
    from routing.examples import run_examples

    for number, route in routes:
        for result in run_examples(route):
            for fault in result.faults:
                path = ("routes", number, "examples", result.number)
                document.fault(path, f"does not hold: {_hidden(fault, path[:2], document.value['routes'], document)}")
