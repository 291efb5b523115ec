"""An automaton finds exactly the patterns that match by definition, at a cost that no pattern can raise."""

from __future__ import annotations

import time
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.automaton import Automaton

PATTERN = st.lists(st.sampled_from(["a", "b", "", "*", "**"]), min_size=1, max_size=6).map(tuple)
SUBJECT = st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=6).map("/".join)


def by_definition(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(by_definition(pattern[1:], parts[i:]) for i in range(len(parts) + 1))
    return bool(parts) and pattern[0] in ("*", parts[0]) and by_definition(pattern[1:], parts[1:])


@given(st.lists(PATTERN, max_size=6), st.lists(SUBJECT, max_size=4))
def test_it_agrees_with_the_definition(patterns: list[tuple[str, ...]], subjects: list[str]) -> None:
    automaton = Automaton(patterns)
    for subject in subjects:
        wanted = [place for place, pattern in enumerate(patterns) if by_definition(pattern, subject.split("/"))]
        assert list(automaton.places(subject)) == wanted
        assert automaton.matches(subject) is bool(wanted)


def test_hostile_patterns_cost_little_each_and_together() -> None:
    hostile = [("**", *"a" * place, "*", "**", *"a" * (120 - place), "b") for place in range(16)]
    subjects = ["/".join("a" * 127) + f"/{number}" for number in range(1000)]
    began = time.process_time()
    automaton = Automaton(hostile)
    assert not any(map(automaton.matches, subjects))
    assert time.process_time() - began < 1
    assert list(automaton.places("/".join("a" * 127) + "/b")) == list(range(16))
