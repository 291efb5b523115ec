// Follow a pattern with the `ws` client until COUNT events have come, publishing some of them meanwhile.
// node follow.mjs URL PATTERN COUNT PUBLISH: prints one JSON object.
import { createRequire } from "node:module";

const WebSocket = createRequire(`${process.env.MODULES}/`)("ws");
const [url, pattern, count, publish] = [process.argv[2], process.argv[3], Number(process.argv[4]), Number(process.argv[5])];
const seen = [];
const answers = [];
let cursor = null;

const socket = new WebSocket(url, "linkspan.v1");
socket.on("open", () => socket.send(JSON.stringify({ id: 1, subscribe: { from: pattern, start: "earliest" } })));
socket.on("message", (data, binary) => {
  if (binary) throw new Error("a binary message");
  const message = JSON.parse(data);
  if (message.id === 1) {
    const topic = pattern.split("/")[0];
    for (let number = 0; number < publish; number++) {
      const event = { specversion: "1.0", id: `ws-${number}`, source: "/ws", type: "t", data: { text: "é".repeat(300) } };
      socket.send(JSON.stringify({ id: `p${number}`, publish: { topic, subject: "from/ws", events: [event] } }));
    }
  } else if (message.id) {
    answers.push(message);
  } else {
    for (const event of message.events) seen.push(event.id);
    cursor = message.cursor;
  }
  if (seen.length >= count && answers.length >= publish) socket.close(1000, "enough");
});
socket.on("close", (code, reason) => {
  console.log(JSON.stringify({ seen, answers, cursor, code, reason: reason.toString(), extensions: socket.extensions }));
});
socket.on("error", (error) => {
  console.error(error.stack);
  process.exit(1);
});
