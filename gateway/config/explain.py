"""Turns what a pydantic model objects to into faults that a person can act on."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.config.document import Document
from gateway.config.faults import KeyPath, closest

_M = TypeVar("_M", bound=BaseModel)

_MESSAGES = {
    "missing": "is required",
    "string_type": "expected text (a number or a truth value must be quoted)",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "dict_type": "expected a mapping",
    "mapping_type": "expected a mapping",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "string_too_short": "is empty",
}


def validate(
    model: type[_M], value: Any, document: Document, path: KeyPath, *, folder: object = None, also: Iterable[str] = ()
) -> _M | None:
    """An instance of `model`. Faults go to the document; then it is what can be salvaged, or None.

    `also` are keys that are known though the model does not have them.
    """
    try:
        return model.model_validate(value, context={"folder": folder})
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=True):
            _explain(model, detail, document, path, also)
        return salvage(model, value, folder=folder)


def salvage(model: type[_M], value: Any, *, folder: object = None) -> _M | None:
    """What is good of a faulty value, with the defaults in place of the rest; None when a model does not allow it.

    `Document.known` tells which keys are good.
    """
    try:
        return model.model_validate(value, context={"folder": folder, "salvage": True})
    except ValidationError:
        return None  # its faults were told; a plug-in's own settings may have required keys without a stand-in


def _explain(
    model: type[BaseModel], detail: ErrorDetails, document: Document, path: KeyPath, also: Iterable[str]
) -> None:
    location: KeyPath = tuple(part for part in detail["loc"] if part != "[key]")
    where = (*path, *location)
    if document.faulty(where):
        return  # it has no value because of what was said already
    context = detail.get("ctx", {})
    suggestion = None
    if detail["type"] == "extra_forbidden":
        known = _fields(model, location[:-1])
        meant = closest(location[-1], [*known, *also] if len(location) == 1 else known)
        document.slip(where, "unknown key", meant)
        return
    if detail["type"] == "literal_error":
        options = _options(context["expected"])
        message = "expected " + " or ".join(filter(None, (", ".join(options[:-1]), options[-1])))
        suggestion = None if where in document.hidden else closest(detail["input"], options)
    else:
        message = _MESSAGES.get(detail["type"]) or _bounds(detail) or detail["msg"].removeprefix("Value error, ")
    document.fault(where, _hide(message, where, detail["input"], document), suggestion)


def _options(expected: str) -> list[str]:
    """pydantic says `'a', 'b' or 'c'`."""
    return [option.strip("'") for option in expected.replace(" or ", ", ").split(", ")]


def _bounds(detail: ErrorDetails) -> str | None:
    context = detail.get("ctx", {})
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    for key, word in words.items():
        if key in context:
            return f"must be {word} {context[key]}"
    return f"must match {context['pattern']}" if "pattern" in context else None


def _hide(message: str, where: KeyPath, value: Any, document: Document) -> str:
    if where in document.hidden and value not in (None, ""):
        return message.replace(str(value), "...")
    return message


def _fields(model: Any, location: Iterable[str | int]) -> list[str]:
    """The keys that are legal at `location` inside `model`."""
    models = {model}
    for part in location:
        models = {inner for outer in models for inner in _step(outer, part)}
    return [name for m in models if isinstance(m, type) and issubclass(m, BaseModel) for name in m.model_fields]


def _step(outer: Any, part: str | int) -> set[Any]:
    if isinstance(outer, type) and issubclass(outer, BaseModel):
        field = outer.model_fields.get(str(part))
        return _unwrap(field.annotation) if field else set()
    arguments = [argument for argument in get_args(outer) if argument is not Ellipsis]
    return _unwrap(arguments[-1]) if arguments else set()


def _unwrap(annotation: Any) -> set[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _unwrap(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return {inner for argument in get_args(annotation) for inner in _unwrap(argument)}
    return {annotation}
