// Two official clients in two processes, given nothing but the app and the addresses: each of the
// six operations, by either of them, is seen live by the other.
import { group } from '../lib/harness.mjs';
import { shelves } from '../lib/apps.mjs';

const test = group('live');

const ALL = { users: { bookshelves: { books: {} } } };

// One user with a shelf with a book, two peers that look at them, and whose turn it is.
async function setUp(t, { schema } = { schema: shelves }) {
  const app = await t.app(schema);
  const peers = await Promise.all([t.peer(app), t.peer(app)]);
  const views = peers.map((peer) => peer.subscribe(ALL));
  await Promise.all(views.map((view) => view.until(() => true, 'a first answer')));
  const [user, shelf, book] = [t.id(), t.id(), t.id()];
  await peers[0].write(
    ['create', 'users', user, { handle: 'alex', fullName: 'Alex' }],
    ['create', 'bookshelves', shelf, { name: 'Nonfiction' }],
    ['create', 'books', book, { title: 'The Years', pageCount: 240, meta: { lent: { to: 'Joe', days: 3 } } }],
    ['link', 'users', user, { bookshelves: shelf }],
    ['link', 'bookshelves', shelf, { books: book }],
  );
  const both = async (check, what) => {
    const [a, b] = await Promise.all(views.map((view) => view.until(check, what)));
    t.eq(sorted(b), sorted(a), `${what}: what the second peer sees`);
  };
  await both((d) => books(d).length === 1, 'user, shelf and book');
  return { t, peers, both, user, shelf, book };
}

const books = (data) => data.users[0]?.bookshelves[0]?.books ?? [];
const book = (data, id) => books(data).find((b) => b.id === id);

// Entities by id and keys by name: order is not what these cases are about.
function sorted(value) {
  if (Array.isArray(value)) {
    const items = value.map(sorted);
    return items.every((item) => item?.id) ? items.sort((a, b) => (a.id < b.id ? -1 : 1)) : items;
  }
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map((k) => [k, sorted(value[k])]));
}

test('create', async (t) => {
  const { peers, both, shelf } = await setUp(t);
  for (const [n, peer] of peers.entries()) {
    const id = t.id();
    await peer.write(['create', 'books', id, { title: `new ${n}` }], ['link', 'bookshelves', shelf, { books: id }]);
    await both((d) => book(d, id)?.title === `new ${n}`, `the book that peer ${n} created`);
  }
  await both((d) => books(d).length === 3, 'three books');
});

test('update', async (t) => {
  const { peers, both, book: id } = await setUp(t);
  for (const [n, peer] of peers.entries()) {
    await peer.write(['update', 'books', id, { pageCount: 1000 + n, title: `title ${n}` }]);
    await both((d) => book(d, id).pageCount === 1000 + n && book(d, id).title === `title ${n}`, `update by peer ${n}`);
  }
});

test('merge', async (t) => {
  const { peers, both, book: id } = await setUp(t);
  await peers[0].write(['merge', 'books', id, { meta: { lent: { to: 'Ann' } } }]);
  await both((d) => book(d, id).meta.lent.to === 'Ann', 'the merged key');
  await peers[1].write(['merge', 'books', id, { meta: { lent: { days: null }, read: [1, 2] } }]);
  await both((d) => book(d, id).meta.read, 'the second merge');
  await both(
    (d) => JSON.stringify(sorted(book(d, id).meta)) === '{"lent":{"to":"Ann"},"read":[1,2]}',
    'keys kept, one removed, one added',
  );
});

test('link-and-unlink', async (t) => {
  const { peers, both, book: id, shelf } = await setUp(t);
  for (const [n, peer] of peers.entries()) {
    await peer.write(['unlink', 'bookshelves', shelf, { books: id }]);
    await both((d) => books(d).length === 0, `unlink by peer ${n}`);
    // From the other side, so that both directions of the link are written.
    await peers[1 - n].write(['link', 'books', id, { bookshelves: shelf }]);
    await both((d) => books(d).length === 1, `link by peer ${1 - n}`);
  }
});

test('delete', async (t) => {
  const { peers, both, book: id, shelf } = await setUp(t);
  await peers[1].write(['delete', 'books', id]);
  await both((d) => d.users[0].bookshelves.length === 1 && books(d).length === 0, 'the book gone');
  await peers[0].write(['delete', 'bookshelves', shelf]);
  await both((d) => d.users.length === 1 && d.users[0].bookshelves.length === 0, 'the shelf gone');
});

test('delete-by-lookup', async (t) => {
  const { peers, both } = await setUp(t);
  await peers[1].write(['update', 'users', ['handle', 'alex'], { fullName: 'Alexandra' }]);
  await both((d) => d.users[0].fullName === 'Alexandra', 'an update by lookup');
  await peers[1].write(['delete', 'users', ['handle', 'alex']]);
  await both((d) => d.users.length === 0, 'the user gone');
});

test('without-a-schema', async (t) => {
  const { peers, both, user } = await setUp(t, { schema: undefined });
  const shelf = t.id();
  await peers[1].write(
    ['update', 'bookshelves', shelf, { colour: 'green' }],
    ['link', 'users', user, { bookshelves: shelf }],
  );
  await both(
    (d) => d.users[0].bookshelves.some((s) => s.colour === 'green'),
    'an attribute that nobody had heard of',
  );
});

test('writers-at-once', async (t) => {
  const { peers, both, shelf } = await setUp(t);
  const writes = peers.flatMap((peer, n) =>
    Array.from({ length: 10 }, (_, k) => {
      const id = t.id();
      return peer.write(['create', 'books', id, { title: `${n}/${k}` }], ['link', 'bookshelves', shelf, { books: id }]);
    }),
  );
  await Promise.all(writes);
  await both((d) => books(d).length === 21, 'the books of both');
});

test('late-comer', async (t) => {
  const app = await t.app(shelves);
  const first = await t.peer(app);
  const [user, shelf] = [t.id(), t.id()];
  await first.write(
    ['create', 'users', user, { handle: 'stopa' }],
    ['create', 'bookshelves', shelf, { name: 'Short' }],
    ['link', 'users', user, { bookshelves: shelf }],
  );
  const second = await t.peer(app);
  const view = second.subscribe(ALL);
  const data = await view.until((d) => d.users.length === 1, 'what was written before it came');
  t.eq(data.users[0].bookshelves.map((s) => s.name), ['Short'], 'shelves');
});
