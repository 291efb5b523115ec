"""How faults of a configuration read, and in which order."""

from __future__ import annotations

from gateway.config.faults import ConfigError, ConfigFault, Place, closest, path_text


def test_a_fault_says_file_line_key_message_and_what_may_have_been_meant() -> None:
    fault = ConfigFault(Place("a.yaml", 7), "listeners.http.prot", "unknown key", "port")
    assert str(fault) == "a.yaml:7: listeners.http.prot: unknown key (did you mean 'port'?)"


def test_a_fault_of_a_flag_names_the_key_once() -> None:
    fault = ConfigFault(Place("--set limits.page"), "limits.page", "expected a whole number")
    assert str(fault) == "--set limits.page: expected a whole number"


def test_faults_are_sorted_by_line_flags_last_and_said_once() -> None:
    faults = [
        ConfigFault(Place("--set x"), "x", "unknown key"),
        ConfigFault(Place("a.yaml", 10), "b", "late"),
        ConfigFault(Place("a.yaml", 9), "c", "early"),
        ConfigFault(Place("a.yaml", 9), "c", "early"),
    ]
    error = ConfigError(faults)
    assert [fault.message for fault in error.faults] == ["early", "late", "unknown key"]
    assert str(error).splitlines() == ["a.yaml:9: c: early", "a.yaml:10: b: late", "--set x: unknown key"]


def test_a_path_quotes_what_contains_a_dot() -> None:
    assert path_text(("topics", "a.b", "retention")) == 'topics."a.b".retention'
    assert path_text(("listeners", "http", 1, "port")) == "listeners.http[1].port"
    assert path_text(()) == ""


def test_the_closest_word_is_suggested_only_when_it_is_close() -> None:
    assert closest("prot", ["host", "port"]) == "port"
    assert closest("Auto-Create", ["auto_create"]) == "auto_create"
    assert closest("xyzzy", ["host", "port"]) is None
    assert closest(5, ["host"]) is None
