// The bench's report: reads the lines that `run` has written, prints a Markdown table, or JSON.
//   node report.mjs markdown|json FILE
//
// Lines: "ROUND NAME RATE P50 P99" (per second, microseconds, microseconds) · "memory NAME IDLE HELD" (KiB) ·
// "machine WHAT …". A ratio is taken within a round, between two figures that were measured seconds apart; medians,
// with the least and the greatest, are over the rounds.

import { readFileSync } from 'node:fs';

const [format, file] = process.argv.slice(2);
const lines = readFileSync(file, 'utf8').trim().split('\n').map((line) => line.split(' '));
const rounds = new Map(); //  name → [{ rate, p50, p99 }], one for each round
const memory = {};
const machine = { others: [] };

for (const [first, name, ...rest] of lines) {
  if (first === 'memory') memory[name] = { idle: Number(rest[0]), held: Number(rest[1]) };
  else if (first === 'machine' && name === 'others') machine.others.push(Number(rest[0]));
  else if (first === 'machine') machine[name] = rest.join(' ');
  else {
    const [rate, p50, p99] = rest.map(Number);
    rounds.set(name, [...(rounds.get(name) ?? []), { rate, p50, p99 }]);
  }
}

function spread(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted.at(-1) };
}

const figure = (name, what) => spread(rounds.get(name).map((round) => round[what]));
const ratio = (name, base, what) => spread(rounds.get(name).map((round, i) => round[what] / rounds.get(base)[i][what]));

const titles = {
  'sign-1': 'raw `C_Sign`, 1 session', 'sign-2': 'raw `C_Sign`, 2 sessions',
  'tpm-sign-1': 'TPM: raw `C_Sign`, 1 session', 'tpm-sign-2': 'TPM: raw `C_Sign`, 2 sessions',
  'tpm-1': 'TPM: dpop-agent, proof, 1 worker', 'tpm-2': 'TPM: dpop-agent, proof, 2 workers',
  'proof-2': 'dpop-agent, proof, 2 workers', 'proof-1': 'dpop-agent, proof, 1 worker', ssh: 'ssh-agent, signature',
  'proof-echo': 'socket echo of a proof\'s frames', token: 'dpop-agent, cached token',
  'token-echo': 'socket echo of a token\'s frames',
};

// What each row is compared with: one client with one session of the module, many with two.
const rows = [
  ['sign-1', []], ['sign-2', ['sign-1']],
  ...[['1', 'sign-1'], ['32', 'sign-2']].flatMap(([n, sign]) => [
    [`ssh-${n}`, [sign]], [`proof-1-${n}`, [`ssh-${n}`, sign, `proof-echo-${n}`]],
    [`proof-2-${n}`, [`ssh-${n}`, sign, `proof-echo-${n}`]], [`proof-echo-${n}`, []],
    [`token-${n}`, [`token-echo-${n}`]], [`token-echo-${n}`, []],
  ]),
  ...[1, 2].flatMap((workers) => [
    [`tpm-sign-${workers}`, workers === 1 ? [] : ['tpm-sign-1']],
    [`tpm-${workers}-1`, ['tpm-sign-1']], [`tpm-${workers}-32`, [`tpm-sign-${workers}`]],
  ]),
];

const aims = [
  { what: 'p50 of a proof, 1 client ÷ ssh-agent\'s', aim: '≤ 0.4', value: ratio('proof-2-1', 'ssh-1', 'p50'),
    met: (v) => v <= 0.4 },
  { what: 'proofs per second, 32 clients ÷ ssh-agent\'s', aim: '≥ 5', value: ratio('proof-2-32', 'ssh-32', 'rate'),
    met: (v) => v >= 5 },
  { what: 'proofs per second, 32 clients ÷ raw `C_Sign`, 2 sessions', aim: '≥ 0.6',
    value: ratio('proof-2-32', 'sign-2', 'rate'), met: (v) => v >= 0.6 },
  { what: 'TPM: p50 of raw `C_Sign` ÷ a proof\'s, 1 client', aim: '≥ 0.9', value: ratio('tpm-sign-1', 'tpm-1-1', 'p50'),
    met: (v) => v >= 0.9 },
  { what: 'TPM: proofs per second, 1 worker, 32 clients ÷ raw `C_Sign`', aim: '≥ 0.9',
    value: ratio('tpm-1-32', 'tpm-sign-1', 'rate'), met: (v) => v >= 0.9 },
  { what: 'p50 of a cached token, 1 client ÷ socket echo\'s', aim: '≤ 2',
    value: ratio('token-1', 'token-echo-1', 'p50'), met: (v) => v <= 2 },
];

function title(name) {
  const match = /^(.*)-(1|32)$/.exec(name);
  if (name.includes('sign')) return [titles[name], '–'];
  return [titles[match[1]], match[2]];
}

const short = (v) => (v >= 1000 ? Math.round(v).toLocaleString('en')
  : v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v.toFixed(2));
const shown = ({ median, min, max }) => `${short(median)} (${short(min)}–${short(max)})`;

function compared(name, bases, what) {
  return bases.map((base) => {
    const whom = base.includes('sign') ? '`C_Sign`' : base.startsWith('ssh') ? 'ssh-agent' : 'echo';
    return `${short(ratio(name, base, what).median)} × ${whom}`;
  }).join(', ') || '–';
}

function markdown() {
  const [request, answer, tokenRequest, tokenAnswer] = machine.sizes.split(' ');
  const held = Number(machine.held);
  const grown = (m) => `${(((m.held - m.idle) * 1024) / held / 1000).toFixed(1)} kB`;
  const mib = (kib) => `${(kib / 1024).toFixed(1)} MiB`;
  return [
    `${machine.cores} cores, ${machine.model}; ${machine.ssh}. ${rounds.get('sign-1').length} rounds, `
      + `every figure once in each; `
      + `medians, with the least and the greatest. Others used ${machine.others.join(' % and ')} % of the machine `
        + `before and after.`,
    '',
    '| What | Clients | Per second | p50 µs | p99 µs | Rate compared | p50 compared |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...rows.map(([name, bases]) =>
      `| ${title(name).join(' | ')} | ${shown(figure(name, 'rate'))} | ${shown(figure(name, 'p50'))} | `
      + `${shown(figure(name, 'p99'))} | ${compared(name, bases, 'rate')} | ${compared(name, bases, 'p50')} |`),
    '',
    `A proof is asked for in ${request} bytes and answered in ${answer}, `
      + `a cached token in ${tokenRequest} and ${tokenAnswer}.`,
    '',
    '| Memory | dpop-agent, 2 workers | ssh-agent and its helper |',
    '| --- | --- | --- |',
    `| all processes, idle | ${mib(memory.agent.idle)} | ${mib(memory.ssh.idle)} |`,
    `| with ${held} connections that have asked twice | ${mib(memory.agent.held)} | ${mib(memory.ssh.held)} |`,
    `| for each connection | ${grown(memory.agent)} | ${grown(memory.ssh)} |`,
    '',
    '| Aim | | Measured | |',
    '| --- | --- | --- | --- |',
    ...aims.map((a) =>
      `| ${a.what} | ${a.aim} | ${shown(a.value)} | ${a.met(a.value.median) ? 'met' : '**missed**'} |`),
  ].join('\n');
}

function json() {
  const all = ['rate', 'p50', 'p99'];
  return JSON.stringify({
    machine,
    memory,
    figures: Object.fromEntries(rows.map(([name, bases]) => [name, {
      ...Object.fromEntries(all.map((what) => [what, figure(name, what)])),
      ratios: Object.fromEntries(bases.map((base) =>
        [base, Object.fromEntries(all.map((what) => [what, ratio(name, base, what)]))])),
    }])),
    aims: aims.map(({ what, aim, value, met }) => ({ what, aim, value, met: met(value.median) })),
  }, null, 2);
}

console.log(format === 'json' ? json() : markdown());
