// Says whether a DPoP proof is what RFC 9449 and STANDARDS ask for, to the last member, with jose as the judge of the
// signature. Gives the claims back.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { jose } from './world.mjs';

export const athOf = (token) => createHash('sha256').update(token).digest('base64url');

export async function verifyProof(proof, { jwk, htm, htu, nonce, ath }) {
  const [header64, payload64, signature64, ...more] = proof.split('.');
  assert.equal(more.length, 0, 'a compact JWS has three parts');
  for (const part of [header64, payload64, signature64]) assert.match(part, /^[A-Za-z0-9_-]+$/);
  assert.equal(jose.base64url.decode(signature64).length, 64, 'the signature is r and s, 64 bytes');

  const header = JSON.parse(Buffer.from(header64, 'base64url'));
  assert.deepEqual(Object.keys(header).sort(), ['alg', 'jwk', 'typ']);
  assert.deepEqual([header.typ, header.alg], ['dpop+jwt', 'ES256']);
  assert.deepEqual(Object.keys(header.jwk).sort(), ['crv', 'kty', 'x', 'y']);
  for (const coordinate of ['x', 'y']) assert.equal(jose.base64url.decode(header.jwk[coordinate]).length, 32);
  assert.deepEqual({ ...header.jwk }, jwk, 'the proof is made with the key that it should be');

  const { payload } = await jose.jwtVerify(proof, jose.EmbeddedJWK, { typ: 'dpop+jwt', algorithms: ['ES256'] });
  const members = ['htm', 'htu', 'iat', 'jti', ...(ath === undefined ? [] : ['ath']), ...(nonce === undefined ? [] : ['nonce'])];
  assert.deepEqual(Object.keys(payload).sort(), members.sort(), 'no exp and no other claims');
  assert.deepEqual([payload.htm, payload.htu, payload.ath, payload.nonce], [htm, htu, ath, nonce]);
  assert.ok(Number.isInteger(payload.iat) && Math.abs(payload.iat - Date.now() / 1000) < 10, 'iat is now');
  assert.ok(payload.jti.length < 128 && jose.base64url.decode(payload.jti).length >= 16, 'jti has at least 128 bits');
  return payload;
}
