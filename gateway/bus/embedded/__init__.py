"""The embedded log: durable, on one machine, without anything else to run."""

from gateway.bus.embedded.log import EmbeddedBus

__all__ = ["EmbeddedBus"]
