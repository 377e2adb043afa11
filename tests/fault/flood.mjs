// flood.mjs SOCKET KEY COUNT: a client process of its own that keeps COUNT requests for proofs by KEY under way, until
// its stdin ends. Then it prints { answered, errors: { name: count } } as one line of JSON, and does not wait for the
// rest.

import { connect } from '../flow/wire.mjs';

const PER_CONNECTION = 200;
const [socket, key, count] = process.argv.slice(2);
const result = { answered: 0, errors: {} };
let going = true;

async function caller(connection) {
  while (going) {
    try {
      await connection.proof({ key, htm: 'GET', htu: 'https://api.invalid/flood', timeout: 60_000 });
      result.answered += 1;
    } catch (error) {
      result.errors[error.name] = (result.errors[error.name] ?? 0) + 1;
      if (error.name === 'busy') await new Promise((done) => setTimeout(done, 20));
      else if (error.name === 'Error') return; // the connection is closed
    }
  }
}

for (let started = 0; started < Number(count); started += PER_CONNECTION) {
  const connection = await connect(socket);
  for (let i = started; i < Math.min(started + PER_CONNECTION, Number(count)); i += 1) void caller(connection);
}
process.stdin.on('end', () => {
  going = false;
  console.log(JSON.stringify(result));
  process.exit(0);
});
process.stdin.resume();
console.log('flooding');
