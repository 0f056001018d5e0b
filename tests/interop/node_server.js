// An echo server built on ws. It says on its standard output, in JSON, where it listens, and how
// each connection ended; see foreign_servers.py for what the messages "ping" and "close" do, and
// for its argument, where `deflate` is ws's perMessageDeflate.
'use strict';
const {WebSocketServer} = require('ws');

const {deflate = false, ways = [[null, 0]]} = JSON.parse(process.argv[2] ?? '{}');
const tell = value => process.stdout.write(JSON.stringify(value) + '\n');
const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  maxPayload: 2 << 20,
  perMessageDeflate: deflate,
  handleProtocols: offered => offered.has('chat') && 'chat',
});

// Send a message in the way whose turn it is.
function send(socket, data, binary, [compress, count]) {
  const step = Math.floor(data.length / (count || 1)) + 1;
  for (let number = 0; number < (count || 1); number++) {
    const part = data.subarray(number * step, (number + 1) * step);
    socket.send(part, {binary, compress: compress ?? true, fin: number + 1 >= count});
  }
}

server.on('listening', () => tell(server.address().port));
server.on('connection', socket => {
  let turn = 0;
  socket.on('message', (data, binary) => {
    const text = binary ? '' : data.toString();
    if (text === 'ping') socket.ping('are you there?');
    else if (text === 'close') socket.close(4321, 'słowo');
    else send(socket, data, binary, ways[turn++ % ways.length]);
  });
  socket.on('pong', data => {
    if (data.toString() === 'are you there?') socket.send('pong');
  });
  socket.on('close', (code, reason) => tell([code, reason.toString()]));
});
