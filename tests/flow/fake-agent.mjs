// A socket that pretends to be an agent, for what the command must say about one that does not keep to the protocol.

import net from 'node:net';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { OPERATION_ANSWER, OPERATION_ERROR, encode, frame, messages, operations, takeFrames } from './wire.mjs';

// onConnect(socket) is called with each connection. → { path, close() }
export async function listenAt(path, onConnect) {
  await rm(path, { force: true });
  const sockets = new Set();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
    onConnect(socket);
  });
  server.listen(path);
  await once(server, 'listening');
  return {
    path,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

export const helloAnswer = (request, values = {}) =>
  frame(operations.hello | OPERATION_ANSWER, request, encode(messages.helloAnswer, { version: 1, max_frame: 1 << 20, agent: 'fake', ...values }));
export const errorAnswer = (request, values) => frame(OPERATION_ERROR, request, encode(messages.error, values));

// An agent that greets as it should and answers every other request with what reply(received) gives: bytes, or null to
// close the connection.
export const politeAgent = (path, reply) => listenAt(path, (socket) => {
  let buffered = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    const { frames, rest } = takeFrames(Buffer.concat([buffered, chunk]));
    buffered = rest;
    for (const received of frames) {
      const bytes = received.operation === operations.hello ? helloAnswer(received.request) : reply(received);
      if (bytes === null) socket.destroy();
      else socket.write(bytes);
    }
  });
});
