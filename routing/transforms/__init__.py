"""Transforms of events: keep, drop, rename, set, mask, enrich, convert, validate, flatten, call."""

from routing.transforms.failure import StepFailed
from routing.transforms.spec import Call, Schemas, Tables
from routing.transforms.transform import StepStats, Transform, compile_transform

__all__ = ["Call", "Schemas", "StepFailed", "StepStats", "Tables", "Transform", "compile_transform"]
