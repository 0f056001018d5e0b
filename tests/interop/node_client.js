// A client built on ws that does what the lines on its standard input say, one JSON object
// each, and tells on its standard output, likewise, what happens. Binary data is in base64. The
// options of a connection are those of ws.
'use strict';
const readline = require('node:readline');
const WebSocket = require('ws');

const tell = event => process.stdout.write(JSON.stringify(event) + '\n');
const decode = part => 'text' in part ? part.text : Buffer.from(part.base64, 'base64');
let socket;

const commands = {
  connect({url, options}) {
    socket = new WebSocket(url, options);
    socket.on('open', () => tell({event: 'open'}));
    socket.on('message', (data, binary) => tell(
      binary ? {event: 'message', base64: data.toString('base64')}
        : {event: 'message', text: data.toString()}));
    socket.on('pong', data => tell({event: 'pong', base64: data.toString('base64')}));
    socket.on('close', (code, reason) => tell({event: 'close', code, reason: reason.toString()}));
    socket.on('error', error => tell({event: 'error', message: error.message}));
  },
  send({parts, compress}) {
    const binary = 'base64' in parts[0];
    parts.forEach((part, index) =>
      socket.send(decode(part), {binary, compress, fin: index === parts.length - 1}));
  },
  ping(part) { socket.ping(decode(part)); },
  close({code, reason}) { socket.close(code, reason); },
};

readline.createInterface({input: process.stdin}).on('line', line => {
  const command = JSON.parse(line);
  commands[command.do](command);
});
