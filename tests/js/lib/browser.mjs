// What the official core client expects of a browser, for plain Node. Import it before the client.
//
// With these in place `init` is called exactly as a page would call it: the client opens IndexedDB
// (in memory here), listens to the network state and opens a WebSocket.
import 'fake-indexeddb/auto';
import WebSocket from 'ws';

const page = new EventTarget();

globalThis.window ??= globalThis;
globalThis.WebSocket = WebSocket;
globalThis.addEventListener ??= page.addEventListener.bind(page);
globalThis.removeEventListener ??= page.removeEventListener.bind(page);
Object.defineProperty(globalThis, 'navigator', { value: { onLine: true }, configurable: true });
// Tabs of one browser share sign-ins over this channel; each process here is a browser of its own.
globalThis.BroadcastChannel = undefined;
