// A resource request as an application makes it with the wire protocol: authorize, send, outcome, and again while the
// agent says so.

import { fetchTrusting } from '../servers/transport.mjs';

// → { status, headers, body, verdict, reason, sends, authorization, dpop }
export async function requestResource(world, { agent = world.agent, profile = 'basic', htm = 'GET', url = `${world.rs.origin}/`, body, most = 5, ...more } = {}) {
  const fetch = fetchTrusting(world.authority.ca);
  let attempt;
  for (let sends = 1; ; sends++) {
    const authorized = await agent.authorize({ profile, htm, url, attempt, ...more });
    const answer = await fetch(authorized.url, {
      method: htm, body, headers: { authorization: authorized.authorization, dpop: authorized.dpop },
    });
    const all = (name) => (answer.headers.get(name) === null ? [] : [answer.headers.get(name)]);
    const { verdict, reason } = await agent.outcome({
      attempt: authorized.attempt, http_status: answer.status, date: answer.headers.get('date') ?? undefined,
      nonces: all('dpop-nonce'), challenges: all('www-authenticate'),
    });
    const text = await answer.text();
    if ((verdict !== 'retry' && verdict !== 'refresh') || sends === most) {
      return { status: answer.status, headers: answer.headers, body: parse(text), verdict, reason, sends, ...authorized };
    }
    attempt = authorized.attempt;
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
