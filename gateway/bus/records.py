"""The CloudEvents Kafka binding, and Kafka's record batches (format v2) as both buses store them.

Encoding writes binary mode: `ce_*` headers, `content-type`, the data as the value.
Reading accepts that, structured mode (`content-type: application/cloudevents+json`), and raw
records of others, whose missing attributes are made up from their place in the log.
"""
