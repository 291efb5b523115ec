"""A real Apache Kafka for tests: the jars come from Maven once, then a broker starts in seconds.

`KafkaServer` is one node or several on this machine (KRaft, combined roles). Every node has a
plain listener; the first also has SASL, TLS and SASL over TLS when asked (`secure=True`).
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

VERSION = "4.1.0"
POM = Path(__file__).parent / "kafka" / "pom.xml"
USER, PASSWORD = "alice", "alice-secret"
MECHANISMS = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"

_PROPERTIES = """
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL,BOTH:SASL_SSL
log.dirs={folder}/data
auto.create.topics.enable=false
num.partitions=1
default.replication.factor={replication}
min.insync.replicas={insync}
offsets.topic.replication.factor={replication}
offsets.topic.num.partitions=1
transaction.state.log.replication.factor={replication}
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor={replication}
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
log.initial.task.delay.ms=200
log.retention.check.interval.ms=500
log.segment.delete.delay.ms=1000
log.cleaner.backoff.ms=300
log.cleaner.dedupe.buffer.size=8388608
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
controlled.shutdown.max.retries=1
"""

_SECURE = """
sasl.enabled.mechanisms={mechanisms}
listener.name.sasl.plain.sasl.jaas.config={plain}
listener.name.both.plain.sasl.jaas.config={plain}
listener.name.sasl.scram-sha-256.sasl.jaas.config={scram}
listener.name.both.scram-sha-256.sasl.jaas.config={scram}
listener.name.sasl.scram-sha-512.sasl.jaas.config={scram}
listener.name.both.scram-sha-512.sasl.jaas.config={scram}
listener.name.sasl.oauthbearer.sasl.jaas.config={oauth}
listener.name.both.oauthbearer.sasl.jaas.config={oauth}
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.tls.ssl.client.auth=required
"""
_PLAIN = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"


class KafkaMissing(Exception):
    """Kafka cannot be started here; the message says what to install."""


def jars() -> Path:
    """The folder with Kafka's jars, fetched with Maven on first use. Raises KafkaMissing."""
    if shutil.which("java") is None:
        raise KafkaMissing("Kafka needs Java 17 or newer: apt-get install openjdk-17-jre-headless")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "linkspan" / f"kafka-{VERSION}"
    lib = cache / "lib"
    if lib.is_dir():
        return lib
    if shutil.which("mvn") is None:
        raise KafkaMissing("Kafka's jars are fetched with Maven once: apt-get install maven")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as work:
        shutil.copy(POM, work)
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={work}/lib"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            raise KafkaMissing(f"Maven could not fetch Kafka {VERSION}:\n{done.stdout[-2000:]}")
        if not lib.is_dir():  # another run may have been quicker
            os.replace(f"{work}/lib", lib)
    return lib


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free a moment ago.

    They lie below the range from which systems take ports for outgoing connections: nobody gets
    one by chance before the broker listens, or while it is stopped.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe:
            # As the broker does: a port whose last connections linger may be listened on.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


class Node:
    """One broker process. `start` returns at once; `ready` tells when it serves."""

    def __init__(self, number: int, folder: Path, port: int, classpath: str, options: list[str]) -> None:
        self.number, self.folder, self.port = number, folder, port
        self.process: subprocess.Popen[bytes] | None = None
        self._classpath, self._options = classpath, options

    def java(self, *arguments: str) -> list[str]:
        return ["java", *self._options, "-cp", self._classpath, *arguments]

    def start(self) -> None:
        assert self.process is None, f"node {self.number} runs already"
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.java("kafka.Kafka", f"{self.folder}/server.properties"),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def ready(self) -> bool:
        """Whether it answers an ApiVersions request: then it has joined the cluster."""
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"Kafka ended by itself:\n{self.tail()}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"\x00\x00\x00\x0c\x00\x12\x00\x00\x00\x00\x00\x01\x00\x02up")
                return len(connection.recv(4)) == 4
        except OSError:
            return False

    def tail(self) -> str:
        """The end of its log."""
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """As a crash: SIGKILL, reaped."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In order: SIGTERM, SIGKILL after ten seconds."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.process = None


class KafkaServer:
    """A Kafka of `nodes` nodes in a folder of its own, deleted by `close`.

    Tests of one session share one; those that stop nodes make their own. `quick` trades peak
    speed for a quick start; benchmarks turn it off.
    """

    def __init__(self, nodes: int = 1, *, secure: bool = False, quick: bool = True, settings: str = "") -> None:
        classpath = f"{jars()}/*"
        self.folder = Path(tempfile.mkdtemp(prefix="linkspan-kafka-"))
        options = ["-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-Xshare:auto"]
        if quick:
            options.append("-XX:TieredStopAtLevel=1")
        self.nodes: list[Node] = []
        ports = free_ports(2 * nodes + 3)
        controllers = ports[nodes : 2 * nodes]
        self.sasl_port, self.tls_port, self.both_port = ports[2 * nodes :]
        voters = ",".join(f"{n}@127.0.0.1:{port}" for n, port in enumerate(controllers, 1))
        for number in range(1, nodes + 1):
            folder = self.folder / str(number)
            folder.mkdir()
            node = Node(number, folder, ports[number - 1], classpath, options)
            self.nodes.append(node)
            listeners = f"PLAINTEXT://127.0.0.1:{node.port}"
            extra = settings
            if secure and number == 1:
                listeners += f",SASL://127.0.0.1:{self.sasl_port},TLS://127.0.0.1:{self.tls_port}"
                listeners += f",BOTH://127.0.0.1:{self.both_port}"
                extra += _SECURE.format(folder=folder, mechanisms=MECHANISMS, plain=_PLAIN, scram=_SCRAM, oauth=_OAUTH)
                self._certificates(folder)
            text = _PROPERTIES.format(
                node=number,
                voters=voters,
                listeners=listeners,
                controller=controllers[number - 1],
                folder=folder,
                replication=min(3, nodes),
                insync=min(2, nodes),
            )
            (folder / "server.properties").write_text(text + extra)
        self._format()

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def node(self) -> Node:
        return self.nodes[0]

    def _certificates(self, folder: Path) -> None:
        import trustme

        authority = trustme.CA()
        server = authority.issue_cert("127.0.0.1", "localhost")
        client = authority.issue_cert("client@linkspan.test")
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        server.private_key_and_cert_chain_pem.write_to_path(str(folder / "server-pkcs1.pem"))
        # Kafka reads PKCS 8 only.
        from cryptography.hazmat.primitives import serialization

        key = serialization.load_pem_private_key(server.private_key_pem.bytes(), None)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
        (folder / "server.pem").write_bytes(pem + chain)
        client.private_key_pem.write_to_path(str(folder / "client.key"))
        (folder / "client.pem").write_bytes(b"".join(blob.bytes() for blob in client.cert_chain_pems))

    def _format(self) -> None:
        # Not beginning with a dash, which would be taken for an option.
        cluster = "L" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:].rstrip("=")
        scram = [
            argument
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for argument in ("--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]")
        ]
        running = [
            subprocess.Popen(
                node.java(
                    "kafka.tools.StorageTool", "format", "-t", cluster, "-c", f"{node.folder}/server.properties", *scram
                ),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
            for node in self.nodes
        ]
        for each in running:
            output, _ = each.communicate(timeout=60)
            if each.returncode:
                raise AssertionError(f"formatting Kafka's storage failed:\n{output.decode()[-2000:]}")

    def start(self, deadline: float = 60.0) -> KafkaServer:
        """Start every node that does not run and wait until all serve."""
        for node in self.nodes:
            if node.process is None:
                node.start()
        end = time.monotonic() + deadline
        while not all(node.ready() for node in self.nodes):
            assert time.monotonic() < end, f"Kafka does not answer:\n{self.nodes[0].tail()}"
            time.sleep(0.05)
        return self

    async def up(self, deadline: float = 60.0) -> None:
        """`start` without blocking the loop."""
        for node in self.nodes:
            if node.process is None:
                node.start()
        end = time.monotonic() + deadline
        while not all(node.ready() for node in self.nodes):
            assert time.monotonic() < end, f"Kafka does not answer:\n{self.nodes[0].tail()}"
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """Kill all nodes and delete everything."""
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


_shared: list[KafkaServer] = []


def shared_kafka() -> KafkaServer:
    """The one Kafka of the test session, started on first use; `close_shared` ends it."""
    if not _shared:
        _shared.append(KafkaServer(secure=True))
        _shared[0].start()
    return _shared[0]


def close_shared() -> None:
    while _shared:
        _shared.pop().close()
