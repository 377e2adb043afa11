// A throw-away certificate authority, made with the openssl command: a CA and one server certificate for localhost,
// 127.0.0.1 and ::1 in a private folder; a set of bad server certificates, each wrong in exactly one way; and client
// certificates, signed by the CA (of a CSR that is given, too) or by themselves.
//
// A folder is complete when server.pem is in it, which is written last; a complete folder is used again as it is.

import { X509Certificate, createHash } from 'node:crypto';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { access, chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const run = promisify(execFile);
const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
const localhost = 'DNS:localhost,IP:127.0.0.1,IP:::1';

// → { dir, ca: path, key: path, cert: path, tls: { key, cert, ca } in PEM }
export async function makeAuthority(dir) {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await chmod(dir, 0o700);
  if (!(await exists(join(dir, 'server.pem')))) {
    await makeCa(dir, 'dpop-agent test CA');
    await makeServer(dir, 'server', { ca: dir, names: localhost });
  }
  const { key, cert, tls } = await readPair(dir, 'server');
  return { dir, ca: join(dir, 'ca.pem'), key, cert, tls: { ...tls, ca: await readFile(join(dir, 'ca.pem')) } };
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

// A client certificate with a P-256 key: { key: path, cert: path, tls, … } and what describeCertificate says.
// subject is openssl's form, '/CN=name/O=org'; names a subjectAltName, 'DNS:client.example'.
export async function makeClientCertificate({ dir }, name, { subject = `/CN=${name}`, selfSigned = false, names, days = 3650 } = {}) {
  const file = (suffix) => join(dir, `client-${name}.${suffix}`);
  if (selfSigned) {
    await run('openssl', ['req', '-x509', ...ec, '-keyout', file('key'), '-out', file('pem'), '-days', String(days), '-subj', subject,
      ...(names ? ['-addext', `subjectAltName=${names}`] : [])]);
  } else {
    await run('openssl', ['req', '-new', ...ec, '-keyout', file('key'), '-out', file('csr'), '-subj', subject]);
    await signRequest({ dir }, file('csr'), { out: file('pem'), names, days });
  }
  await chmod(file('key'), 0o600);
  const pair = await readPair(dir, `client-${name}`);
  return { ...pair, ...describeCertificate(pair.tls.cert) };
}

// Signs a certificate signing request (PEM file) for a client → describeCertificate of it, and { cert: path }.
export async function signRequest({ dir }, csr, { out = `${csr}.pem`, names, days = 3650 } = {}) {
  const ext = `${out}.ext`;
  await writeFile(ext, [
    ...(names ? [`subjectAltName=${names}`] : []), 'basicConstraints=critical,CA:FALSE',
    'keyUsage=critical,digitalSignature', 'extendedKeyUsage=clientAuth', '',
  ].join('\n'));
  await run('openssl', ['x509', '-req', '-in', csr, '-CA', join(dir, 'ca.pem'), '-CAkey', join(dir, 'ca.key'),
    '-CAcreateserial', '-days', String(days), '-extfile', ext, '-out', out]);
  return { cert: out, ...describeCertificate(await readFile(out)) };
}

// Of a certificate in PEM: { thumbprint: hex of its SHA-256, subjectDn: RFC 4514, jwk: public, with x5c }
export function describeCertificate(pem) {
  const certificate = new X509Certificate(pem);
  return {
    thumbprint: createHash('sha256').update(certificate.raw).digest('hex'),
    subjectDn: subjectDn(certificate),
    jwk: { ...certificate.publicKey.export({ format: 'jwk' }), x5c: [certificate.raw.toString('base64')] },
  };
}

// RFC 4514 writes the last part first.
export const subjectDn = (certificate) => certificate.subject.split('\n').reverse().join(',');

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
