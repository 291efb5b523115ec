"""The counting client of the benchmarks counts right, and sees what is wrong."""

from __future__ import annotations

import json
import select
import socket
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.filters.filter import compile_expr_filter
from tests.bench.crowd import Crowd
from tests.bench.fanout import percentiles
from tests.bench.feed import Connection, Feed
from tests.bench.share import Share
from tests.bench.stream import (
    Broken,
    Counter,
    Exact,
    SseReader,
    Tracker,
    WebSocketReader,
    client_frame,
    event_text,
    http_answer,
    http_request,
    last_stamp,
    server_frame,
    stamps,
    websocket_answer,
    websocket_request,
)


def texts(count: int, first: int = 0, size: int = 100) -> list[bytes]:
    return [event_text(number, 1000 + number, "s/0", size) for number in range(first, first + count)]


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """As a server sends it."""
    whole = server_frame(payload)
    return bytes((0x80 | opcode,)) + whole[1:]


def message(events: list[bytes], sid: int = 1, more: bytes = b"") -> bytes:
    return frame(b'{"sid":%d,"events":[%s],"cursor":"AbC_-9"%s}' % (sid, b",".join(events), more))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def sse(events: list[bytes]) -> bytes:
    return b"".join(b"id: AbC_-9\ndata: %s\n\n" % event for event in events)


def fed(reader: Exact, data: bytes, step: int) -> list[int]:
    return [number for at in range(0, len(data), step) for number in reader.feed(data[at : at + step])]


# Events


@pytest.mark.parametrize("size", [41, 100, 1000])
def test_an_event_is_a_cloud_event_with_the_size_of_data_that_was_asked_for(size: int) -> None:
    event = json.loads(event_text(7, 99, "s/3", size))
    assert len(json.dumps(event["data"], separators=(",", ":"))) == size
    assert event["data"]["e"].startswith(f"~{7:016x}{99:016x}")
    assert (event["id"], event["subject"], event["specversion"]) == (f"{7:016x}", "s/3", "1.0")


def test_all_events_of_a_size_are_equally_long() -> None:
    assert len({len(event_text(number, number, "s/0", 100)) for number in (0, 10, 10**6, 10**12)}) == 1


def test_a_client_frame_is_masked_and_has_its_length() -> None:
    assert client_frame(b"abc") == b"\x81\x83\0\0\0\0abc"
    assert client_frame(b"a" * 126).startswith(b"\x81\xfe\x00\x7e\0\0\0\0a")


# Counting


FLOOR = len(texts(1)[0])


def counted(*reads: bytes) -> int:
    counter = Counter(FLOOR)
    return sum(counter.count(bytearray(read), len(read)) for read in reads)


@given(
    blocks=st.lists(st.tuples(st.integers(1, 150), st.booleans()), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 40_000), max_size=8),
)
def test_marks_are_counted_exactly_wherever_reads_are_cut(blocks: list[tuple[int, bool]], cuts: list[int]) -> None:
    data = b"".join(message(texts(count)) if plain else chunk(sse(texts(count))) for count, plain in blocks)
    # A frame's head that is cut beside its 126 may look like a mark.
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data) and 126 not in data[cut - 1 : cut + 1])})
    assert counted(*(data[a:b] for a, b in pairwise(places))) == sum(count for count, _ in blocks)


@pytest.mark.parametrize("cut", [-1, 0, 1, 2])
def test_a_cut_beside_a_mark_counts_it_once(cut: int) -> None:
    data = message(texts(5))
    place = data.index(b'"~', 400) + 1 + cut
    assert counted(data[:place], data[place:]) == 5


def test_the_length_byte_126_is_no_mark() -> None:
    data = frame(b"x" * 0x7E7E)
    assert data.count(b"~") == 3
    assert counted(data) == 0


def test_bytes_of_an_earlier_read_are_not_counted() -> None:
    data = bytearray(message(texts(10)))
    assert Counter(FLOOR).count(data, data.index(b'"~', 1000) + 1) == 4


def test_stamps_are_those_of_whole_events() -> None:
    data = bytearray(message(texts(3)))
    assert stamps(data, len(data)) == [1000, 1001, 1002]
    third = data.rindex(b'"~')
    assert last_stamp(data, len(data)) == 1002
    assert last_stamp(data, third + 34) == 1002
    assert last_stamp(data, third + 33) == 1001
    assert stamps(data, third + 33) == [1000, 1001]
    assert last_stamp(data, 20) is None


# Exact reading


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_websocket_messages_are_read_whole_and_byte_by_byte(step: int) -> None:
    data = message(texts(2)) + frame(b"ping", 9) + message(texts(300, 2)) + message(texts(1, 302))
    assert fed(WebSocketReader(), data, step) == list(range(303))


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_event_streams_are_read_whole_and_byte_by_byte(step: int) -> None:
    text = sse(texts(3, 2))
    data = (
        chunk(b": hello\n\n") + chunk(b"retry: 2000\n\n") + chunk(sse(texts(2))) + chunk(text[:99]) + chunk(text[99:])
    )
    assert fed(SseReader(), data, step) == list(range(5))


@pytest.mark.parametrize(
    "wrong",
    [
        message(texts(1), sid=2),
        message([]),
        message(texts(1), more=b',"gap":{}'),
        message([texts(1)[0].replace(b'"id":"0000', b'"id":"0001')]),
        message([texts(1)[0].replace(b"~", b"#")]),
        frame(b'{"sid":1,"events":[' + texts(1)[0] + b"]}"),
        frame(b"\x03\xe8", 8),
        b"\x01" + message(texts(1))[1:],
        b"\xc1" + message(texts(1))[1:],
        b"\x81\x81",
    ],
    ids=["sid", "empty", "gap", "id", "data", "cursor", "close", "fragment", "compressed", "masked"],
)
def test_what_the_websocket_server_must_not_send_is_told(wrong: bytes) -> None:
    with pytest.raises(Broken):
        WebSocketReader().feed(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        chunk(b"data: %s\n\n" % texts(1)[0]),
        chunk(b"event: gap\nid: A\ndata: {}\n\n"),
        chunk(b"id: A\ndata: %s\n\n" % texts(1)[0].replace(b"~", b"#")),
        b"0\r\n\r\n",
    ],
    ids=["no cursor", "gap", "data", "end"],
)
def test_what_the_stream_must_not_send_is_told(wrong: bytes) -> None:
    with pytest.raises(Broken):
        SseReader().feed(wrong)


def tracked(*numbers: int, first: int = 0, step: int = 1) -> Tracker:
    tracker = Tracker(first, step)
    for number in numbers:
        tracker.add(number)
    return tracker


def test_a_tracker_tells_loss_repeat_and_disorder_apart() -> None:
    right = tracked(0, 1, 2, 3)
    assert (right.lost(4), right.duplicated, right.late, right.received) == (0, 0, 0, 4)
    assert right.lost(6) == 2
    assert tracked(0, 3).lost(4) == 2
    repeated = tracked(0, 1, 1, 0)
    assert (repeated.lost(2), repeated.duplicated, repeated.late) == (0, 2, 0)
    late = tracked(0, 2, 1, 1)
    assert (late.lost(3), late.duplicated, late.late) == (0, 1, 1)


def test_a_tracker_of_one_view_expects_every_so_manyth_number() -> None:
    tracker = tracked(3, 13, 33, first=3, step=10)
    assert tracker.lost(34) == 1
    assert tracker.lost(44) == 2


def test_what_a_subscriber_should_have_is_what_was_published_for_its_view() -> None:
    share = Share(3)
    assert [share.expected(index, 7) for index in range(4)] == [3, 2, 2, 3]
    assert [share.rank(1, number) for number in (1, 4, 7)] == [0, 1, 2]
    assert (Share().subject(0), share.subject(2), share.subject(3)) == ("**", "s/2", "s/0")
    assert (share.filter(0), share.price(7)) == ([], None)


def test_500_filters_differ_and_each_lets_a_tenth_of_the_prices_through() -> None:
    share = Share(filters=True)
    assert len({share.filter(index)[0]["expr"] for index in range(500)}) == 500
    prices = [share.price(number) or 0 for number in range(2345)]
    assert len({len(event_text(number, 0, "s/0", 100, price)) for number, price in enumerate(prices)}) == 1
    for index in (0, 1, 250, 499):
        passes = compile_expr_filter(share.filter(index)[0]["expr"]).passes
        wanted = [number for number, price in enumerate(prices) if passes({}, b'{"price":%f}' % price)]
        assert [share.rank(index, number) for number in wanted] == list(range(len(wanted)))
        assert len(wanted) == share.expected(index, 2345)
        assert share.expected(index, 2000) == 200
    assert share.reached([100, 200]) == 1500


def test_an_event_for_another_is_told() -> None:
    with pytest.raises(Broken, match="event 3 is not for subscriber 0"):
        Share(2).rank(0, 3)
    with pytest.raises(ValueError, match="one view"):
        Share(2, filters=True)


def test_percentiles_are_in_milliseconds() -> None:
    assert percentiles([n * 1_000_000 for n in range(1000)]) == {"p50_ms": 500.0, "p99_ms": 990.0, "max_ms": 999.0}
    assert percentiles([]) == {"p50_ms": 0.0, "p99_ms": 0.0, "max_ms": 0.0}


# The loop's parts, on socket pairs


def test_an_answer_is_whole_once_its_body_is_there() -> None:
    whole = b'HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 11\r\n\r\n{"count":1}'
    assert http_answer(whole) == len(whole)
    assert http_answer(whole[:-1]) == 0
    assert http_answer(whole[:20]) == 0
    with pytest.raises(Broken):
        http_answer(b"HTTP/1.1 200 OK\r\n\r\n")


def test_over_a_websocket_an_answer_is_a_message() -> None:
    whole = frame(b'{"id":7,"ok":{"count":2}}')
    assert websocket_answer(whole) == len(whole)
    assert websocket_answer(whole[:-1]) == 0
    with pytest.raises(Broken, match="not_available"):
        websocket_answer(frame(b'{"id":7,"error":{"code":"not_available"}}'))
    sent = websocket_request("t", texts(3))
    assert sent[1] & 0x80
    published = json.loads(sent[sent.index(b"{") :])["publish"]
    assert (published["topic"], len(published["events"])) == ("t", 3)


def feed_of(epoll: select.epoll, made: socket.socket, **more: float) -> tuple[Connection, Feed]:
    connection = Connection(made, epoll, http_answer)
    options = {"share": Share(2), "size": 100, "batch": 10, "rate": 0, "window": 20, **more}
    request = partial(http_request, "/p")
    return connection, Feed([connection], request, slowest=lambda: 0, **options)  # type: ignore[arg-type]


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_at_full_speed_publishing_waits_for_the_answer_and_for_the_slowest() -> None:
    here, there = socket.socketpair()
    with here, there, select.epoll() as epoll:
        connection, feed = feed_of(epoll, here)
        feed.step(5)
        feed.step(6)
        assert feed.sent == 10
        assert not connection.free
        sent = there.recv(65536)
        assert sent.startswith(b"POST /p HTTP/1.1\r\n")
        published = json.loads(sent.partition(b"\r\n\r\n")[2])
        assert [event["subject"] for event in published] == ["s/0", "s/1"] * 5
        for _ in range(2):
            there.sendall(OK)
            connection.ready(select.EPOLLIN)
            feed.step(7)
        assert feed.sent == 20
        assert connection.free


def test_at_a_rate_what_is_due_is_published_with_the_time_at_which_it_was_due() -> None:
    here, there = socket.socketpair()
    with here, there, select.epoll() as epoll:
        connection, feed = feed_of(epoll, here, rate=1000)
        feed.begin()
        now = feed._began
        assert 0 < feed.step(now) <= 0.001
        feed.step(now + 1_000_000)
        event = json.loads(there.recv(65536).partition(b"\r\n\r\n")[2])
        assert event["data"]["e"][17:33] == f"{now + 1_000_000:016x}"
        there.sendall(OK)
        connection.ready(select.EPOLLIN)
        feed.step(now + 4_000_000)
        assert len(json.loads(there.recv(65536).partition(b"\r\n\r\n")[2])) == 3


def test_a_request_larger_than_the_socket_holds_goes_out_bit_by_bit() -> None:
    here, there = socket.socketpair()
    with here, there, select.epoll() as epoll:
        connection, feed = feed_of(epoll, here, batch=5000, window=5000, size=1000)
        feed.step(5)
        received = b""
        there.setblocking(False)
        while not received.endswith(b"}}]"):
            for _, mask in epoll.poll(1):
                connection.ready(mask)
            received += there.recv(2**20)
        assert len(json.loads(received.partition(b"\r\n\r\n")[2])) == 5000


def test_a_refused_publish_ends_the_run() -> None:
    here, there = socket.socketpair()
    with here, there, select.epoll() as epoll:
        connection, feed = feed_of(epoll, here)
        feed.step(5)
        there.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(Broken, match="503"):
            connection.ready(select.EPOLLIN)


def test_a_crowd_checks_first_and_then_counts() -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    with select.epoll() as epoll:
        crowd = Crowd([(here, WebSocketReader()) for here, _ in pairs], Share(), epoll, FLOOR)
        for _, there in pairs:
            there.sendall(message(texts(4)))
        crowd.read(epoll.poll(1))
        assert crowd.got == [4, 4, 4]
        crowd.count_only()
        crowd.measuring = crowd.every = True
        for _, there in pairs[:2]:
            there.sendall(message(texts(50, 4)))
        pairs[2][1].close()
        crowd.read(epoll.poll(1))
        assert (crowd.got, crowd.slowest(), crowd.total, crowd.closed) == ([54, 54, 4], 4, 112, 1)
        assert len(crowd.latencies) == 50
        crowd.close()
        for _, there in pairs:
            there.close()


def test_the_slowest_of_many_views_is_counted_on_average() -> None:
    pairs = [socket.socketpair() for _ in range(4)]
    with select.epoll() as epoll:
        crowd = Crowd([(here, WebSocketReader()) for here, _ in pairs], Share(2), epoll, FLOOR)
        crowd.got = [3, 3, 2, 2]
        assert crowd.slowest() == 5
        crowd.close()
        for _, there in pairs:
            there.close()
