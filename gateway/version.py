"""The version, as packaging and `linkspan version` show it."""

VERSION = "0.1.0"
