// RFC 8705 at the test authorization server: what oidc-provider asks of whoever terminates TLS, which is us.

import { isIP } from 'node:net';
import { subjectDn } from './authority.mjs';

const peer = (ctx) => ctx.req.socket.getPeerX509Certificate?.();

// The certificate's SHA-256 in hex, or null.
export function presentedCertificate(req) {
  return req.socket.getPeerX509Certificate?.()?.fingerprint256.replaceAll(':', '').toLowerCase() ?? null;
}

const alternativeNames = (certificate, kind) =>
  (certificate.subjectAltName ?? '').split(', ').filter((name) => name.startsWith(`${kind}:`)).map((name) => name.slice(kind.length + 1));

const subjectMatches = {
  tls_client_auth_subject_dn: (certificate, expected) => subjectDn(certificate) === expected,
  tls_client_auth_san_dns: (certificate, expected) => alternativeNames(certificate, 'DNS').includes(expected),
  tls_client_auth_san_uri: (certificate, expected) => alternativeNames(certificate, 'URI').includes(expected),
  tls_client_auth_san_email: (certificate, expected) => alternativeNames(certificate, 'email').includes(expected),
  tls_client_auth_san_ip: (certificate, expected) => isIP(expected) !== 0 && certificate.checkIP(expected) !== undefined,
};

export const mutualTlsFeature = {
  enabled: true,
  tlsClientAuth: true,
  selfSignedTlsClientAuth: true,
  getCertificate: peer,
  certificateAuthorized: (ctx) => ctx.req.socket.authorized,
  certificateSubjectMatches: (ctx, property, expected) => subjectMatches[property](peer(ctx), expected),
};

// mtls_endpoint_aliases: the endpoints that authenticate clients, under another origin.
export function endpointAliases(base) {
  return {
    token_endpoint: `${base}/token`,
    revocation_endpoint: `${base}/token/revocation`,
    introspection_endpoint: `${base}/token/introspection`,
    pushed_authorization_request_endpoint: `${base}/request`,
    device_authorization_endpoint: `${base}/device/auth`,
  };
}
