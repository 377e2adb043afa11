// Client metadata for the test authorization server, of any client authentication, allowed every grant that is named.
//
//   clients: [clientFor({ id: 'app', authentication: 'private_key_jwt', jwks: { keys: [publicJwk] } })]

import { describeCertificate } from './authority.mjs';

export const grantTypes = {
  code: 'authorization_code',
  client: 'client_credentials',
  refresh: 'refresh_token',
  device: 'urn:ietf:params:oauth:grant-type:device_code',
  exchange: 'urn:ietf:params:oauth:grant-type:token-exchange',
  bearer: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
};

export const authentications = [
  'none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt', 'tls_client_auth', 'self_signed_tls_client_auth',
];

// The provider disregards the port of a loopback redirect URI (RFC 8252), not its path.
export const loopbackRedirects = ['127.0.0.1', '[::1]'].flatMap((host) => [`http://${host}/`, `http://${host}/callback`]);

// grants: grant types, in full or as the short names above; default: all. jwks: { keys } for private_key_jwt (and for JWT
// bearer assertions of the client's own). certificate: PEM, for the two of TLS. More members of the metadata lie over it.
export function clientFor({ id, authentication = 'none', grants = Object.keys(grantTypes), secret, jwks, certificate, ...more }) {
  const types = grants.map((grant) => grantTypes[grant] ?? grant);
  const withCode = types.includes(grantTypes.code);
  const client = {
    client_id: id,
    token_endpoint_auth_method: authentication,
    application_type: 'native',
    grant_types: types,
    response_types: withCode ? ['code'] : [],
    redirect_uris: withCode ? loopbackRedirects : [],
  };
  if (jwks) client.jwks = jwks;
  if (authentication.startsWith('client_secret')) client.client_secret = secret;
  if (authentication === 'private_key_jwt') client.token_endpoint_auth_signing_alg = 'ES256';
  if (authentication === 'tls_client_auth') client.tls_client_auth_subject_dn = describeCertificate(certificate).subjectDn;
  if (authentication === 'self_signed_tls_client_auth') {
    client.jwks = { keys: [...(jwks?.keys ?? []), describeCertificate(certificate).jwk] };
  }
  return { ...client, ...more };
}
