// What the page asks of the service. The key, if there is one, lives as long as the tab.

const KEY = 'duet-key';
const RECONNECT_MS = 2000;
const SILENT_MS = 40000; // the service says something every 15 s: a connection that is silent for longer is dead

export const key = () => sessionStorage.getItem(KEY) ?? '';
export const setKey = (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY));

/** A refusal: the problem's title and detail, and its status; 0 where nobody answered. */
export class Refusal extends Error {
  constructor(status, title, detail) {
    super(detail);
    Object.assign(this, { status, title, detail });
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(key() && { Authorization: `Bearer ${key()}` }) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    throw new Refusal(0, '', error.message);
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Refusal(answer.status, problem.title ?? answer.statusText, problem.detail ?? '');
}

export const models = async () => (await (await ask('/models')).json()).models;

/** Score one picture. Without `map` the service draws the heatmap over it itself. */
export async function scorePicture(blob, { model, map }) {
  const query = new URLSearchParams(map ? { heatmap: 'map' } : { heatmap: 'overlay', heatmap_size: 'source' });
  if (model) query.set('model', model);
  const headers = { 'Content-Type': blob.type.startsWith('image/') ? blob.type : 'application/octet-stream', 'X-Duet-Station': 'page' };
  if (blob.name) headers['X-Duet-Part'] = String.fromCharCode(...new TextEncoder().encode(blob.name)); // a header holds bytes
  return (await ask(`/score?${query}`, { method: 'POST', body: blob, headers })).json();
}

export const sendFeedback = (id, label) => ask('/feedback', { method: 'POST', body: JSON.stringify({ id, label }) });

/**
 * Listen for results until `stop` is called; comes back by itself. EventSource could not send a key.
 * `on` has `service`, `earlier`, `result` and `state`, the last one given 'live', 'offline' or 'locked'.
 */
export function listen(on) {
  const stopping = new AbortController();
  (async () => {
    while (!stopping.signal.aborted) {
      try {
        const answer = await ask('/events?pictures=true', { signal: stopping.signal });
        on.state('live');
        await read(answer.body, on);
        on.state('offline');
      } catch (error) {
        if (stopping.signal.aborted) return;
        on.state(error.status === 401 ? 'locked' : 'offline');
        if (error.status === 401) return; // until somebody types a key
      }
      await new Promise((resume) => setTimeout(resume, RECONNECT_MS));
    }
  })();
  return () => stopping.abort();
}

async function read(stream, on) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = '';
  for (;;) {
    const silence = setTimeout(() => reader.cancel(), SILENT_MS);
    const { value, done } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    const events = (waiting + value).split('\n\n');
    waiting = events.pop();
    for (const event of events) {
      const fields = Object.fromEntries(event.split('\n').map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]));
      if (fields.event) on[fields.event]?.(JSON.parse(fields.data));
    }
  }
}
