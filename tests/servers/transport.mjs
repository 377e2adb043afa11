// What both test servers need of the network: a listener on loopback, with TLS or without, that can be closed at once
// whatever its clients do, and that may ask for client certificates; and a fetch that trusts one CA and nothing else,
// follows no redirect and pools no connection.

import http from 'node:http';
import https from 'node:https';
import { readFileSync } from 'node:fs';
import { X509Certificate } from 'node:crypto';
import { checkServerIdentity } from 'node:tls';
import { isIPv6 } from 'node:net';
import { once } from 'node:events';

// tls: { key, cert } in PEM, or null for plain http (more members are not looked at). host is the name in the origin; the listener is on loopback only.
// clientCa: a PEM text makes it ask for a client certificate; one that it does not sign, and none at all, connect too.
export async function listen({ tls = null, host = 'localhost', port = 0, clientCa }, handler) {
  const asking = clientCa ? { requestCert: true, rejectUnauthorized: false, ca: clientCa } : {};
  const server = tls ? https.createServer({ key: tls.key, cert: tls.cert, ...asking }, handler) : http.createServer(handler);
  server.keepAliveTimeout = 60_000;
  const sockets = new Set(); // those in the middle of a TLS handshake too, which closeAllConnections leaves
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen(port, host === '::1' ? '::1' : '127.0.0.1');
  await once(server, 'listening');
  const bound = server.address().port;
  const name = host.includes(':') ? `[${host}]` : host;
  return {
    server,
    port: bound,
    origin: `${tls ? 'https' : 'http'}://${name}:${bound}`,
    async close() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

// ca: the path of a PEM file, or undefined where only plain http is spoken. client: { key, cert } in PEM, to show.
export function fetchTrusting(ca, client = {}) {
  const trusted = ca === undefined ? undefined : readFileSync(ca);
  return (url, { method = 'GET', headers = {}, body, signal } = {}) =>
    new Promise((resolve, reject) => {
      const { protocol } = new URL(url);
      const { request } = protocol === 'https:' ? https : http;
      const sent = request(url, {
        method, headers: Object.fromEntries(new Headers(headers)), signal, agent: false, ca: trusted,
        key: client.key, cert: client.cert, checkServerIdentity: checkIdentity,
      });
      sent.once('error', reject);
      sent.once('response', async (answer) => {
        try {
          const chunks = await answer.toArray();
          const empty = method === 'HEAD' || [204, 205, 304].includes(answer.statusCode);
          const lines = Object.entries(answer.headersDistinct).flatMap(([name, values]) => values.map((value) => [name, value]));
          resolve(new Response(empty ? null : Buffer.concat(chunks), { status: answer.statusCode, headers: lines }));
        } catch (error) {
          reject(error);
        }
      });
      sent.end(body instanceof URLSearchParams ? body.toString() : body);
    });
}

// Node 22.23 takes no IPv6 address for an address in its own check, and refuses every certificate for it.
function checkIdentity(name, certificate) {
  if (!isIPv6(name)) return checkServerIdentity(name, certificate);
  return new X509Certificate(certificate.raw).checkIP(name) ? undefined : new Error(`the certificate does not name ${name}`);
}
