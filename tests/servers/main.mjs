// Both test servers as one command, for packaging/quickstart and for trying things out by hand:
//   tests/servers/node tests/servers/main.mjs --dir DIR [--as-port N] [--rs-port N] [--jwks FILE]
//
// In DIR (0700) it keeps the CA (authority/) and the client's secret (client-secret, 0600), made once; servers.json is
// written when both servers listen, and removed when they stop. --jwks FILE adds the client "quickstart-jwt", which
// authenticates with a private_key_jwt of these public keys. It runs until SIGTERM or SIGINT.

import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { makeAuthority } from './authority.mjs';
import { startAuthorizationServer } from './authorization-server.mjs';
import { startResourceServer } from './resource-server.mjs';

const clientId = 'quickstart';

function readOptions() {
  const string = { type: 'string' };
  try {
    const { values } = parseArgs({ options: { dir: string, 'as-port': string, 'rs-port': string, jwks: string } });
    if (!values.dir) throw new Error('--dir DIR is required');
    return { dir: resolve(values.dir), asPort: Number(values['as-port'] ?? 0), rsPort: Number(values['rs-port'] ?? 0), jwks: values.jwks };
  } catch (error) {
    console.error(`main.mjs: ${error.message}`);
    process.exit(2);
  }
}

async function readOrMakeSecret(file) {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  const secret = randomBytes(32).toString('base64url');
  await writeFile(`${file}.new`, secret, { mode: 0o600 });
  await rename(`${file}.new`, file);
  return secret;
}

const { dir, asPort, rsPort, jwks } = readOptions();
await mkdir(dir, { recursive: true, mode: 0o700 });
await chmod(dir, 0o700);
const listing = join(dir, 'servers.json');
await rm(listing, { force: true });

const clientSecretFile = join(dir, 'client-secret');
const clients = [{ client_id: clientId, client_secret: await readOrMakeSecret(clientSecretFile), token_endpoint_auth_method: 'client_secret_basic' }];
if (jwks) {
  clients.push({
    client_id: `${clientId}-jwt`, jwks: JSON.parse(await readFile(jwks, 'utf8')),
    token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256',
  });
}

const { ca, tls } = await makeAuthority(join(dir, 'authority'));
const as = await startAuthorizationServer({ tls, port: asPort, clients });
const rs = await startResourceServer({ tls, port: rsPort, issuer: as.issuer, ca });
as.addResource(rs.origin);

const description = { issuer: as.issuer, resource: rs.origin, ca, clientId, clientSecretFile, pid: process.pid };
await writeFile(`${listing}.new`, `${JSON.stringify(description, null, 2)}\n`, { mode: 0o600 });
await rename(`${listing}.new`, listing);
console.log(`ready: authorization server ${as.issuer}, resource server ${rs.origin}`);

async function stop() {
  await rm(listing, { force: true });
  await Promise.all([as.close(), rs.close()]);
  process.exit(0);
}
process.once('SIGTERM', stop);
process.once('SIGINT', stop);
