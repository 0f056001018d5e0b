// node's ws. Words: echo, fanout, deflate, tls=CERTIFICATE,KEY.
"use strict";
const fs = require("fs");
const http = require("http");
const https = require("https");
const tty = require("tty");
const { WebSocketServer } = require("ws");

let fanout = false;
let deflate = false;
let tls = null;
for (const word of process.argv.slice(2)) {
  if (word === "fanout") fanout = true;
  else if (word === "deflate") deflate = true;
  else if (word.startsWith("tls=")) {
    const [cert, key] = word.slice(4).split(",").map((path) => fs.readFileSync(path));
    tls = { cert, key };
  } else if (word !== "echo") {
    console.error(`${word} is not understood`);
    process.exit(2);
  }
}

const server = tls ? https.createServer(tls) : http.createServer();
const sockets = new WebSocketServer({
  server,
  perMessageDeflate: deflate && {
    serverMaxWindowBits: 12,
    clientMaxWindowBits: 12,
    zlibDeflateOptions: { level: 6, memLevel: 5 },
    threshold: 0,
  },
});
sockets.on("connection", (socket) => {
  socket.on("message", (data, binary) => {
    if (!fanout) socket.send(data, { binary });
    else for (const each of sockets.clients) each.send(data, { binary });
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));

// Standard input is a pipe from the runner: the server ends when it does.
if (!tty.isatty(0)) {
  process.stdin.on("end", () => process.exit(0));
  process.stdin.resume();
}
