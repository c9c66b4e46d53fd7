// What the WebSocket layer itself refuses: that connection is closed with the code for it, the
// others never notice.
import { group } from '../lib/harness.mjs';
import { shelves } from '../lib/apps.mjs';

const test = group('limits');

const PART = Buffer.alloc(1 << 20, 'x');
// No sensible limit lies above this.
const TOO_LARGE_PARTS = 256;

// Runs `attack` on one connection; another, opened before, works during and after it, and a third
// can be opened afterwards.
async function attacked(t, code, attack) {
  const app = await t.app(shelves);
  const [victim, bystander] = await Promise.all([t.raw(app), t.raw(app)]);
  await bystander.ask({ op: 'add-query', q: { books: {} } });
  await attack(victim);
  t.eq(await victim.closeCode(), code, 'close code');
  for (const session of [bystander, await t.raw(app)]) {
    const answer = await session.transact(session.steps('books', t.id(), { title: 'still here' }));
    t.eq(answer.op, 'transact-ok', 'a write afterwards');
  }
  await bystander.take((m) => m.op === 'refresh-ok', 'a refresh for the bystander');
}

test('frame-announced-too-large', async (t) => {
  await attacked(t, 1009, (victim) => {
    // The head of a masked text frame of 2^40 bytes, which need not be sent.
    victim.ws._socket.write(Buffer.from([0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4]));
  });
});

test('message-of-many-frames-too-large', async (t) => {
  await attacked(t, 1009, async (victim) => {
    for (let n = 0; n < TOO_LARGE_PARTS && victim.closed === undefined; n++) {
      // A part is sent when the one before has left, so that a close can come in between.
      await new Promise((resolve) => victim.ws.send(PART, { binary: false, fin: false }, resolve));
    }
  });
});

test('text-is-not-utf8', async (t) => {
  await attacked(t, 1007, (victim) => victim.sendTextBytes(Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d])));
});

test('text-ends-within-a-character', async (t) => {
  await attacked(t, 1007, (victim) => victim.sendTextBytes(Buffer.from('"é"').subarray(0, 2)));
});
