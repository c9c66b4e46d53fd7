// After an error an official client may keep showing the refused value: it stores a refresh with
// its pending transactions applied, the refused one too if that was still unanswered. Only the next
// refresh of the query mends it, so the server sends one.
import { group } from '../lib/harness.mjs';
import { admin, shelves } from '../lib/apps.mjs';

const test = group('heal');

const titles = (data) => data.books.map((b) => b.title).sort();

// A peer on a line that can be held and one that is not, both looking at the books, among them one
// that another may not share its isbn13 with.
async function setUp(t) {
  const app = await t.app(shelves);
  const line = await t.line();
  const [writer, other] = await Promise.all([t.peer(app, { wsUrl: line.wsUrl }), t.peer(app)]);
  await other.write(['create', 'books', t.id(), { title: 'holder', isbn13: '978' }]);
  const [view, control] = [writer.subscribe({ books: {} }), other.subscribe({ books: {} })];
  await Promise.all([view, control].map((v) => v.until((d) => d.books.length === 1, 'the first book')));
  return { app, line, writer, other, view, control };
}

// The refresh crosses the transaction on its way to the server.
test('refresh-crosses-a-refused-create', async (t) => {
  const { line, writer, other, view, control } = await setUp(t);
  line.hold();
  const refused = writer.transact(['create', 'books', t.id(), { title: 'refused', isbn13: '978' }]);
  await view.until((d) => titles(d).includes('refused'), 'the local result');
  await other.write(['create', 'books', t.id(), { title: 'meanwhile' }]);
  await view.until((d) => titles(d).includes('meanwhile'), 'the refresh with the local result');
  line.release();
  const answer = await refused;
  t.eq(answer.event, 'error', 'answer to the second holder');
  const data = await view.until((d) => !titles(d).includes('refused'), 'the refused book to go');
  t.eq(titles(data), ['holder', 'meanwhile'], 'what is left');
  t.ok(control.results().every((d) => !titles(d).includes('refused')), 'the other peer never saw it');
});

test('refresh-crosses-a-refused-update', async (t) => {
  const { app, line, writer, other, view } = await setUp(t);
  const book = t.id();
  await other.write(['create', 'books', book, { title: 'good', pageCount: 10 }]);
  await view.until((d) => titles(d).includes('good'), 'the book');
  line.hold();
  const refused = writer.transact(['update', 'books', book, { title: 'bad', pageCount: 'not a number' }]);
  await view.until((d) => titles(d).includes('bad'), 'the local result');
  await other.write(['create', 'books', t.id(), { title: 'meanwhile' }]);
  await view.until((d) => titles(d).includes('meanwhile'), 'the refresh with the local result');
  line.release();
  t.eq((await refused).event, 'error', 'answer to the wrong type');
  const data = await view.until((d) => titles(d).includes('good'), 'the old title again');
  t.eq(data.books.find((b) => b.id === book).pageCount, 10, 'the old number again');
  const server = await admin(app).query({ books: {} });
  t.eq(titles(server), titles(data), 'what the server has');
});

// Both arrive together: the first is accepted and refreshes, the second is refused.
test('refused-right-behind-accepted', async (t) => {
  const { line, writer, view } = await setUp(t);
  line.hold();
  const accepted = writer.transact(['create', 'books', t.id(), { title: 'accepted' }]);
  const refused = writer.transact(['create', 'books', t.id(), { title: 'refused', isbn13: '978' }]);
  await view.until((d) => d.books.length === 3, 'both local results');
  line.release();
  t.eq((await accepted).status, 'synced', 'the first');
  t.eq((await refused).event, 'error', 'the second');
  const data = await view.until((d) => !titles(d).includes('refused'), 'the refused book to go');
  t.eq(titles(data), ['accepted', 'holder'], 'what is left');
});

// On the wire: each query that a refused transaction touched is sent again, unchanged.
test('refresh-follows-the-error', async (t) => {
  const app = await t.app(shelves);
  const session = await t.raw(app);
  const other = await t.raw(app);
  const q = { books: {} };
  t.eq((await session.ask({ op: 'add-query', q })).op, 'add-query-ok', 'answer to the query');
  await other.transact(other.steps('books', t.id(), { title: 'holder', isbn13: '978' }));
  await session.take((m) => m.op === 'refresh-ok', 'the refresh of the first book');
  const answer = await session.transact(session.steps('books', t.id(), { title: 'refused', isbn13: '978' }));
  t.eq(answer.op, 'error', 'answer to the second holder');
  const refresh = await session.take((m) => m.op === 'refresh-ok', 'a refresh after the error');
  t.ok(session.received.indexOf(refresh) > session.received.indexOf(answer), 'the refresh comes after the error');
  const [computation] = refresh.computations.filter((c) => JSON.stringify(c['instaql-query']) === JSON.stringify(q));
  t.ok(computation, 'the query is in the refresh');
  t.ok(!JSON.stringify(computation['instaql-result']).includes('refused'), 'the refused value is not in it');
});
