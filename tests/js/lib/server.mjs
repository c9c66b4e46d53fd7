// Where the server under test is.
export const HTTP_URL = (process.env.TEST_HTTP_URL ?? 'http://127.0.0.1:8888').replace(/\/+$/, '');
export const WS_URL = `${HTTP_URL.replace(/^http/, 'ws')}/runtime/session`;
