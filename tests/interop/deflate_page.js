// Run in a page with a URL, messages and what to call at the end: sends all of them at once, and
// tells what was agreed on, what came back, and how it ended. Binary data is in base64.
const [url, messages, done] = arguments;
const decode = part =>
  'text' in part ? part.text : Uint8Array.from(atob(part.base64), char => char.charCodeAt(0));
const encode = data => typeof data === 'string' ? {text: data}
  : {base64: btoa(Array.from(new Uint8Array(data), byte => String.fromCharCode(byte)).join(''))};
const heard = [];
const socket = new WebSocket(url);
socket.binaryType = 'arraybuffer';
socket.onopen = () => messages.forEach(message => socket.send(decode(message)));
socket.onmessage = ({data}) => {
  heard.push(encode(data));
  if (heard.length === messages.length) socket.close(3456, 'seen');
};
socket.onclose = ({code}) => done({extensions: socket.extensions, heard, code});
