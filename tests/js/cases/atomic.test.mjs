// A transaction of a thousand steps is seen whole or not at all.
import { group } from '../lib/harness.mjs';
import { admin, shelves } from '../lib/apps.mjs';

const test = group('atomic');

const ROWS = 500;
const ROUNDS = 6;

// Each row is written by two steps: its id, and the round.
test('a-thousand-steps', async (t) => {
  const app = await t.app(shelves);
  const [reader, writer] = [await t.peer(app), await t.peer(app)];
  const all = reader.subscribe({ books: {} });
  const odd = reader.subscribe({ books: { $: { where: { isbn13: { $isNull: true }, meta: 'odd' } } } });
  const books = Array.from({ length: ROWS }, () => t.id());
  const create = books.map((book) => admin(app).tx.books[book].update({ title: 'round 0' }));
  await admin(app).transact(create);
  for (let round = 1; round <= ROUNDS; round += 1) {
    const values = { title: `round ${round}`, meta: round % 2 ? 'odd' : 'even' };
    await writer.write(...books.map((book) => ['update', 'books', book, values]));
  }
  await all.until((r) => r.books[0]?.title === `round ${ROUNDS}`, 'the last round');
  await odd.until((r) => r.books.length === 0, 'no row of an odd round');
  for (const { books: rows } of all.results()) {
    t.ok(rows.length === 0 || rows.length === ROWS, `all rows or none, not ${rows.length}`);
    const rounds = new Set(rows.map((row) => row.title));
    t.ok(rounds.size <= 1, `one round at a time, not ${[...rounds]}`);
  }
  for (const { books: rows } of odd.results()) {
    t.ok(rows.length === 0 || rows.length === ROWS, `all rows of an odd round or none, not ${rows.length}`);
  }
});
