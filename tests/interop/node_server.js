// An echo server built on ws. It says on its standard output, in JSON, where it listens, and how
// each connection ended; see foreign_servers.py for what the messages "ping" and "close" do.
'use strict';
const {WebSocketServer} = require('ws');

const tell = value => process.stdout.write(JSON.stringify(value) + '\n');
const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  maxPayload: 2 << 20,
  handleProtocols: offered => offered.has('chat') && 'chat',
});

server.on('listening', () => tell(server.address().port));
server.on('connection', socket => {
  socket.on('message', (data, binary) => {
    const text = binary ? '' : data.toString();
    if (text === 'ping') socket.ping('are you there?');
    else if (text === 'close') socket.close(4321, 'słowo');
    else socket.send(data, {binary});
  });
  socket.on('pong', data => {
    if (data.toString() === 'are you there?') socket.send('pong');
  });
  socket.on('close', (code, reason) => tell([code, reason.toString()]));
});
