// A WebSocket to the server without a client: the case writes the messages itself.
import { randomUUID } from 'node:crypto';
import WebSocket from 'ws';
import { Failure, Signal, show, until } from './waiting.mjs';

const VERSIONS = { '@instantdb/core': 'v1.0.67' };

export class RawSession {
  #changed = new Signal();
  #waiting = [];
  #all = [];

  static async open(url) {
    const session = new RawSession();
    const ws = new WebSocket(url, { perMessageDeflate: false, maxPayload: 0 });
    session.ws = ws;
    ws.on('error', (e) => (session.fault = new Failure(`the connection failed: ${e.message}`)));
    ws.on('message', (bytes, isBinary) => {
      session.#receive(bytes.toString(), isBinary);
      session.#changed.raise();
    });
    ws.on('close', (code) => {
      session.closed = code;
      session.#changed.raise();
    });
    await new Promise((resolve, reject) => {
      ws.once('open', resolve);
      ws.once('error', reject);
    });
    return session;
  }

  // Everything received so far, in order.
  get received() {
    return this.#all;
  }

  // Sends a message as it is; one without client-event-id gets one. Gives what was sent.
  send(message) {
    const sent = { 'client-event-id': randomUUID(), ...message };
    this.ws.send(JSON.stringify(sent));
    return sent;
  }

  sendText(text) {
    this.ws.send(text);
  }

  // Sends these bytes as one text frame, whether they are text or not.
  sendTextBytes(bytes) {
    this.ws.send(bytes, { binary: false });
  }

  // Waits for a message that satisfies `check` and takes it out of those waiting.
  take(check, what) {
    return until(
      () => {
        const at = this.#waiting.findIndex(check);
        if (at >= 0) return this.#waiting.splice(at, 1)[0];
        if (this.fault) throw this.fault;
        if (this.closed !== undefined) throw new Failure(`closed with ${this.closed} instead of ${what}`);
        return undefined;
      },
      this.#changed.listen,
      what,
      () => this.#waiting,
    );
  }

  // Waits for the answer to a message sent before.
  answer(sent) {
    return this.take((m) => m['client-event-id'] === sent['client-event-id'], `an answer to ${show(sent)}`);
  }

  // Sends a message and waits for its answer.
  ask(message) {
    return this.answer(this.send(message));
  }

  async init(app, extra = {}) {
    const answer = await this.ask({ op: 'init', 'app-id': app.id, versions: VERSIONS, ...extra });
    this.attrs = answer.attrs;
    return answer;
  }

  // The id of an attribute that the app had when the session began.
  attr(namespace, label) {
    const found = this.attrs.find((a) => a['forward-identity'][1] === namespace && a['forward-identity'][2] === label);
    if (!found) throw new Failure(`the app has no attribute ${namespace}.${label}`);
    return found.id;
  }

  // The steps by which the official client writes an entity.
  steps(namespace, entity, values, mode) {
    const options = mode ? [{ mode }] : [];
    return Object.entries({ id: entity, ...values }).map(([label, value]) => [
      'add-triple',
      entity,
      this.attr(namespace, label),
      value,
      ...options,
    ]);
  }

  transact(steps, extra = {}) {
    return this.ask({ op: 'transact', 'tx-steps': steps, ...extra });
  }

  // Waits for the connection to be closed; gives the code.
  closeCode() {
    return until(
      () => this.closed !== undefined && { code: this.closed },
      this.#changed.listen,
      'the connection to be closed',
      () => this.#waiting,
    ).then(({ code }) => code);
  }

  #receive(text, isBinary) {
    if (isBinary) {
      this.fault = new Failure('the server sent a binary frame to a plain session');
      return;
    }
    try {
      // An array frame is its elements in order.
      const messages = [JSON.parse(text)].flat();
      this.#all.push(...messages);
      this.#waiting.push(...messages);
    } catch (e) {
      this.fault = new Failure(`the server sent a frame that is not JSON: ${e.message}`);
    }
  }

  async close() {
    if (this.closed !== undefined) return;
    this.ws.terminate();
    await this.closeCode();
  }
}

// The triples of a result, whatever their grouping.
export function triples(result) {
  return result.flatMap((node) => [
    ...node.data['datalog-result']['join-rows'].flat(),
    ...triples(node['child-nodes']),
  ]);
}
