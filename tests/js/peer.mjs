// One user of an app, with the official core client, driven over standard input and output.
//
//     node peer.mjs APP_ID API_URI WEBSOCKET_URI
//
// Commands, one JSON object a line:
//
//     {"cmd":"subscribe","query":{..},"id":".."?}
//     {"cmd":"transact","ops":[[op, namespace, id, arguments?], ..],"id":".."?}
//     {"cmd":"join","type":"..","room":"..","presence":{..}?,"topic":".."?}
//     {"cmd":"show","room":"..","presence":{..}}            merged over what is shown
//     {"cmd":"tell","room":"..","topic":"..","data":..}
//     {"cmd":"leave","room":".."}
//     {"cmd":"exit"}
//
// `op` is create, update, merge, link, unlink or delete; an entity id may be [attribute, value], a
// lookup. What happens is told the same way; `id` of a command comes back in all its events:
//
//     {"event":"status","status":".."}                      the connection, on each change
//     {"event":"result","data":{..}}                        a query, on each change
//     {"event":"query-error","message":"..","hint":..}
//     {"event":"transacted","status":"synced"|"enqueued","eventId":".."}
//     {"event":"peers","room":"..","peers":[..]}            the others in a room, on each change
//     {"event":"told","room":"..","data":..,"peer":{..}}    a message of the topic given with `join`
//     {"event":"error","message":"..","hint":..}            a refused transaction, or a bad command
//
// Lines of the client itself go to standard error. The end of standard input is an exit.
import './lib/browser.mjs';
import { createInterface } from 'node:readline';
import { init, lookup } from '@instantdb/core';

for (const level of ['log', 'info', 'debug', 'warn']) console[level] = console.error;

const [appId, apiURI, websocketURI] = process.argv.slice(2);
if (!websocketURI) {
  process.stderr.write('usage: node peer.mjs APP_ID API_URI WEBSOCKET_URI\n');
  process.exit(2);
}

const OPS = new Set(['create', 'update', 'merge', 'link', 'unlink', 'delete']);

const emit = (event, then) => process.stdout.write(JSON.stringify(event) + '\n', then);

const db = init({ appId, apiURI, websocketURI });
db.subscribeConnectionStatus((status) => emit({ event: 'status', status }));

function chunk([op, namespace, id, args]) {
  if (!OPS.has(op)) throw new Error(`unknown operation ${JSON.stringify(op)}`);
  const entity = db.tx[namespace][Array.isArray(id) ? lookup(id[0], id[1]) : id];
  return op === 'delete' ? entity.delete() : entity[op](args);
}

// Rooms by id, each with what ends its subscriptions: the client does not leave while there are any.
const rooms = new Map();

const commands = {
  join({ type, room: id, presence, topic }) {
    const room = db.joinRoom(type, id, { initialPresence: presence });
    const stops = [
      room.subscribePresence({}, ({ isLoading, peers }) => {
        if (!isLoading) emit({ event: 'peers', room: id, peers: Object.values(peers) });
      }),
    ];
    if (topic) stops.push(room.subscribeTopic(topic, (data, peer) => emit({ event: 'told', room: id, data, peer })));
    rooms.set(id, { room, stops });
  },
  show: ({ room, presence }) => rooms.get(room).room.publishPresence(presence),
  tell: ({ room, topic, data }) => rooms.get(room).room.publishTopic(topic, data),
  leave({ room: id }) {
    const { room, stops } = rooms.get(id);
    stops.forEach((stop) => stop());
    room.leaveRoom();
  },
  subscribe({ id, query }) {
    db.subscribeQuery(query, (r) => {
      if (r.error) emit({ event: 'query-error', id, message: r.error.message, hint: r.error.hint });
      else emit({ event: 'result', id, data: r.data });
    });
  },
  // The call happens now, so that commands take effect in the order given; the answer comes when
  // the client has one.
  transact({ id, ops }) {
    db.transact(ops.map(chunk)).then(
      (r) => emit({ event: 'transacted', id, status: r.status, eventId: r.eventId }),
      (e) => emit({ event: 'error', id, message: e.message, hint: e.hint }),
    );
  },
  exit,
};

function exit() {
  db.shutdown();
  process.stdout.write('', () => process.exit(0));
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    if (!line.trim()) return;
    let command;
    try {
      command = JSON.parse(line);
      const run = Object.hasOwn(commands, command.cmd) && commands[command.cmd];
      if (!run) throw new Error(`unknown command ${JSON.stringify(command.cmd)}`);
      run(command);
    } catch (e) {
      emit({ event: 'error', id: command?.id, message: e.message });
    }
  })
  .on('close', exit);
