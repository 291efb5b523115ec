"""The way in: authorise, validate, batch per topic, append, answer.

A door calls `publish` with everything it has parsed; `done` is called exactly once, on the
loop, after the bus has it.
"""
