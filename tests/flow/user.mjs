// A user with a browser that has no window: logs in at the test authorization server, consents or refuses, and ends at the
// program's loopback redirect URI, or at the end of a device login.
//
//   const { redirect, page } = await logIn(url, { ca });                 // page: { status, headers, body } of the loopback listener
//   const { redirect } = await logIn(url, { ca, follow: false });        // the redirect is not followed
//   await deny(url, { ca });                                             // error=access_denied
//   await approveDevice(verificationUriComplete, { ca });                // or { uri, userCode }; deny: true refuses
//
// makeUser({ ca, login }) is one whose session outlives a login. redirect is a string; null when the server answered with a
// page of its own instead, which `page` then is: an error, or the last page of a device login.
//   login     who it is (default alice)
//   consent   false refuses
//   refuse    scopes that are not granted, separated by spaces

import { fetchTrusting } from '../servers/transport.mjs';

const MAX_STEPS = 20;

export function makeUser({ ca, login = 'alice' } = {}) {
  const fetch = fetchTrusting(ca);
  const cookies = new Map(); // "path name" → { name, value, path }

  function remember(url, answer) {
    for (const line of answer.headers.getSetCookie()) {
      const [pair, ...attributes] = line.split(';').map((part) => part.trim());
      const at = pair.indexOf('=');
      const attribute = (wanted) => attributes.find((one) => one.toLowerCase().startsWith(`${wanted}=`))?.slice(wanted.length + 1);
      const [name, value] = [pair.slice(0, at), pair.slice(at + 1)];
      const path = attribute('path') ?? '/';
      const expires = attribute('expires');
      const gone = value === '' || (expires !== undefined && Date.parse(expires) < Date.UTC(1971, 0));
      if (gone) cookies.delete(`${path} ${name}`);
      else cookies.set(`${path} ${name}`, { name, value, path });
    }
  }

  const cookieHeader = ({ pathname }) =>
    [...cookies.values()].filter(({ path }) => pathname.startsWith(path)).map(({ name, value }) => `${name}=${value}`).join('; ');

  async function send(url, form) {
    const cookie = cookieHeader(url);
    const answer = await fetch(url, {
      method: form ? 'POST' : 'GET',
      headers: {
        accept: 'text/html', ...(cookie ? { cookie } : {}), ...(form ? { 'content-type': 'application/x-www-form-urlencoded' } : {}),
      },
      body: form && new URLSearchParams(form),
    });
    remember(url, answer);
    return answer;
  }

  const pageOf = async (answer) => ({ status: answer.status, headers: answer.headers, body: await answer.text() });

  // Goes from page to page until the server sends it elsewhere, or has nothing more to ask.
  async function browse(start, { consent = true, refuse = '', abortDevice = false, follow = true } = {}) {
    const { origin } = new URL(start);
    let url = new URL(start);
    let answer = await send(url);
    for (let step = 0; step < MAX_STEPS; step++) {
      const location = answer.headers.get('location');
      if (location) {
        url = new URL(location, url);
        if (url.origin !== origin) return { redirect: url.href, page: follow ? await pageOf(await fetch(url)) : null };
        answer = await send(url);
        continue;
      }
      const page = await pageOf(answer);
      const next = page.status === 200 ? formOf(page, url) : null;
      if (!next) return { redirect: null, page };
      if (next.isInteraction) next.fields = { login, consent: consent ? 'yes' : 'no', refuse };
      else if (next.fields.confirm && abortDevice) next.fields.abort = 'yes';
      url = next.url;
      answer = await send(url, next.fields);
    }
    throw new Error(`no end after ${MAX_STEPS} pages at ${url}`);
  }

  return {
    logIn: browse,
    deny: (url, how) => browse(url, { ...how, consent: false }),
    // at: 'confirm' refuses where the code is confirmed, 'consent' where access is granted
    async approveDevice(target, { deny = false, at = 'consent', refuse } = {}) {
      const url = typeof target === 'string' ? new URL(target) : new URL(target.uri);
      if (target.userCode) url.searchParams.set('user_code', target.userCode);
      return browse(url, { consent: !(deny && at === 'consent'), abortDevice: deny && at === 'confirm', refuse });
    },
  };
}

const asUser = (method) => (target, { ca, login, ...how } = {}) => makeUser({ ca, login })[method](target, how);
export const logIn = asUser('logIn');
export const deny = asUser('deny');
export const approveDevice = asUser('approveDevice');

const unescaped = (text) => text.replace(/&(amp|lt|gt|quot|#39);/g, (_all, name) => ({ amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" })[name]);

// The form of a page, filled in: { url, fields, isInteraction }; null when there is none, or one that asks for a code.
function formOf({ headers, body }, url) {
  const json = headers.get('content-type')?.startsWith('application/json');
  if (json) return 'prompt' in JSON.parse(body) ? { url, fields: {}, isInteraction: true } : null;
  const [, action] = /<form[^>]* action="([^"]*)"/.exec(body) ?? [];
  if (action === undefined || body.includes('id="op.deviceInputForm"')) return null;
  const inputs = [...body.matchAll(/<input[^>]*>/g)].map(([tag]) => [/ name="([^"]*)"/.exec(tag)?.[1], / value="([^"]*)"/.exec(tag)?.[1]]);
  const fields = Object.fromEntries(inputs.filter(([name, value]) => name && value !== undefined).map(([name, value]) => [name, unescaped(value)]));
  return { url: new URL(unescaped(action), url), fields, isInteraction: false };
}
