"""A document remembers where each key stood."""

from __future__ import annotations

from gateway.config.document import Document
from gateway.config.faults import Place


def test_the_place_of_an_unknown_key_is_that_of_the_nearest_one_around_it() -> None:
    document = Document("a.yaml")
    document.mark(("bus",), Place("a.yaml", 3))
    assert document.place(("bus", "security", "key")) == Place("a.yaml", 3)
    assert document.place(("limits",)) == Place("a.yaml", 1)


def test_replacing_a_value_forgets_its_places_and_its_faults() -> None:
    document = Document("a.yaml")
    document.mark(("bus",), Place("a.yaml", 3))
    document.mark(("bus", "kind"), Place("a.yaml", 4))
    document.fault(("bus", "kind"), "wrong")
    document.fault(("bust",), "also wrong")
    document.replace(("bus",), Place("--kafka"))
    assert document.place(("bus", "kind")) == Place("--kafka")
    assert [fault.path for fault in document.faults] == ["bust"]
    assert document.faulty(("bust",))
    assert not document.faulty(("bus", "kind"))


def test_what_is_known_has_no_fault_and_may_not_be_hidden_by_a_slip() -> None:
    document = Document("a.yaml")
    document.value = {"bus": {"kind": "x", "pth": "d"}, "listeners": {"http": [{"port": 1}]}, "limits": None}
    document.fault(("bus", "kind"), "wrong")
    document.slip(("bus", "pth"), "unknown key", "path")
    assert not document.known(("bus", "kind"))
    assert not document.known(("bus", "path"))
    assert document.known(("bus", "segment"))
    document.slip(("bus", "zz"), "unknown key", None)
    assert not document.known(("bus", "segment"))
    assert document.known(("limits", "page"))
    document.fault(("listeners", "http", 0, "host"), "wrong")
    assert document.spelled(("listeners", "http", "port")) == ("listeners", "http", 0, "port")
    assert document.known(("listeners", "http", "port"))
    assert not document.known(("listeners", "http", "host"))
    document.fault(("listeners",), "wrong")
    assert not document.known(("listeners", "http", "port"))
