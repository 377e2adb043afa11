// A throw-away certificate authority, made with the openssl command: a CA and one server certificate for localhost,
// 127.0.0.1 and ::1 in a private folder; and a set of bad server certificates, each wrong in exactly one way.
//
// A folder is complete when server.pem is in it, which is written last; a complete folder is used again as it is.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { access, chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const run = promisify(execFile);
const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
const localhost = 'DNS:localhost,IP:127.0.0.1,IP:::1';

// → { dir, ca: path, key: path, cert: path, tls: { key, cert } in PEM }
export async function makeAuthority(dir) {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await chmod(dir, 0o700);
  if (!(await exists(join(dir, 'server.pem')))) {
    await makeCa(dir, 'dpop-agent test CA');
    await makeServer(dir, 'server', { ca: dir, names: localhost });
  }
  return { dir, ca: join(dir, 'ca.pem'), ...(await readPair(dir, 'server')) };
}

// Of an authority that is there: → { unknownCa, expired, wrongHost }, each { key: path, cert: path, tls }.
export async function makeBadCertificates({ dir }) {
  const stranger = join(dir, 'stranger');
  await mkdir(stranger, { recursive: true, mode: 0o700 });
  await makeCa(stranger, 'a CA that nobody trusts');
  await makeServer(dir, 'unknown-ca', { ca: stranger, names: localhost });
  await makeServer(dir, 'expired', { ca: dir, names: localhost, days: -1 });
  await makeServer(dir, 'wrong-host', { ca: dir, names: 'DNS:elsewhere.example' });
  return {
    unknownCa: await readPair(dir, 'unknown-ca'),
    expired: await readPair(dir, 'expired'),
    wrongHost: await readPair(dir, 'wrong-host'),
  };
}

async function makeCa(dir, name) {
  const [key, cert] = [join(dir, 'ca.key'), join(dir, 'ca.pem')];
  await run('openssl', ['req', '-x509', ...ec, '-keyout', key, '-out', cert, '-days', '3650', '-subj', `/CN=${name}`,
    '-addext', 'keyUsage=critical,keyCertSign,cRLSign']);
  await chmod(key, 0o600);
}

async function makeServer(dir, name, { ca, names, days = 3650 }) {
  const file = (suffix) => join(dir, `${name}.${suffix}`);
  await writeFile(file('ext'), [
    `subjectAltName=${names}`, 'basicConstraints=critical,CA:FALSE',
    'keyUsage=critical,digitalSignature', 'extendedKeyUsage=serverAuth', '',
  ].join('\n'));
  await run('openssl', ['req', '-new', ...ec, '-keyout', file('key'), '-out', file('csr'), '-subj', `/CN=${name}`]);
  await chmod(file('key'), 0o600);
  await run('openssl', ['x509', '-req', '-in', file('csr'), '-CA', join(ca, 'ca.pem'), '-CAkey', join(ca, 'ca.key'),
    '-CAcreateserial', '-days', String(days), '-extfile', file('ext'), '-out', file('new')]);
  await rename(file('new'), file('pem'));
}

async function readPair(dir, name) {
  const [key, cert] = [join(dir, `${name}.key`), join(dir, `${name}.pem`)];
  return { key, cert, tls: { key: await readFile(key), cert: await readFile(cert) } };
}

const exists = (path) => access(path).then(() => true, () => false);
