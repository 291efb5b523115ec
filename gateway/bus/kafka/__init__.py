"""The bus on Apache Kafka: the one place that knows its wire and its client library."""

from gateway.bus.kafka.bus import KafkaBus
from gateway.config.model import KafkaSecurity

__all__ = ["KafkaBus", "KafkaSecurity"]
