// A `peer.mjs` process, as a case drives it.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { HTTP_URL } from './server.mjs';
import { Failure, Signal, show, until } from './waiting.mjs';

const PROGRAM = fileURLToPath(new URL('../peer.mjs', import.meta.url));

export class Peer {
  #changed = new Signal();
  #events = [];
  #stderr = '';
  #ended;
  #next = 0;

  constructor(appId, wsUrl) {
    this.child = spawn(process.execPath, [PROGRAM, appId, HTTP_URL, wsUrl], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.child.stderr.on('data', (bytes) => (this.#stderr = (this.#stderr + bytes).slice(-2_000)));
    this.child.stdin.on('error', () => {});
    this.exited = new Promise((resolve) => {
      this.child.once('close', (code) => {
        this.#ended = code;
        this.#changed.raise();
        resolve(code);
      });
    });
    createInterface({ input: this.child.stdout }).on('line', (line) => {
      this.#events.push(JSON.parse(line));
      this.#changed.raise();
    });
  }

  // Waits until the peer's connection was seen in this state.
  status(status) {
    const seen = () => this.#events.filter((e) => e.event === 'status').map((e) => e.status);
    return this.#until(() => seen().includes(status), `connection status ${status}`, seen);
  }

  // A live query; its answers so far are kept.
  subscribe(query) {
    const id = this.#send({ cmd: 'subscribe', query });
    const results = () => this.#events.filter((e) => e.event === 'result' && e.id === id).map((e) => e.data);
    const last = () => results().at(-1);
    return {
      results,
      last,
      // Waits for a last answer that satisfies `check`.
      until: (check, what) =>
        this.#until(
          () => {
            const error = this.#events.find((e) => e.event === 'query-error' && e.id === id);
            if (error) throw new Failure(`the query answered with an error: ${show(error)}`);
            const data = last();
            return data !== undefined && check(data) ? { data } : undefined;
          },
          what,
          () => last() ?? 'no answer',
        ).then(({ data }) => data),
    };
  }

  // Applies the operations at once; gives the answer of the server when it came: an event
  // `transacted` or `error`.
  transact(...ops) {
    const id = this.#send({ cmd: 'transact', ops });
    const answer = () => this.#events.find((e) => e.id === id && (e.event === 'transacted' || e.event === 'error'));
    return this.#until(answer, `an answer to ${show(ops)}`, answer);
  }

  // A transaction that the server must accept.
  async write(...ops) {
    const answer = await this.transact(...ops);
    if (answer.status !== 'synced') throw new Failure(`${show(ops)} was answered with ${show(answer)}`);
  }

  async exit() {
    if (this.#ended === undefined && !this.child.killed) this.child.stdin.end('{"cmd":"exit"}\n');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 3_000);
    const code = await this.exited;
    clearTimeout(timer);
    return code;
  }

  #send(command) {
    const id = `c${(this.#next += 1)}`;
    this.child.stdin.write(JSON.stringify({ ...command, id }) + '\n');
    return id;
  }

  #until(check, what, seen) {
    return until(
      () => {
        const value = check();
        if (!value && this.#ended !== undefined) {
          throw new Failure(`the peer ended with ${this.#ended}: ${this.#stderr}`);
        }
        return value;
      },
      this.#changed.listen,
      what,
      seen,
    );
  }
}
