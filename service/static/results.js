// The last results: those that the service tells of, and those of this page's own pictures, by their id.

export const REMEMBERED = 200;
const WITH_PICTURES = 80;
const WITH_OWN_PICTURES = 12; // these are as large as they were given

/** The joint score that a threshold on the joint probability stands for: it never saturates, as the probability does. */
export const scoreThreshold = (threshold) => (threshold >= 1 ? Infinity : -Math.log1p(-threshold));

const isOf = (result, wanted) =>
  (!wanted.model || result.model.name === wanted.model) &&
  (!wanted.line || (result.line ?? result.station ?? '') === wanted.line) &&
  (!wanted.verdict || (wanted.verdict === 'bad') === result.anomalous);

export class Results {
  #byId = new Map(); // oldest first

  /** Add a result, or what is new about one; true if it was not known. A part that is scored again under its id is a new one. */
  add(found) {
    const known = this.#byId.get(found.id);
    if (known?.time && found.time && found.time !== known.time) {
      if (new Date(found.time) < known.at) return false; // the service tells of both again after each reconnection
      this.#byId.delete(found.id);
    } else if (known) {
      for (const [name, value] of Object.entries(found)) if (value !== null && value !== undefined) known[name] = value;
      return false;
    }
    this.#byId.set(found.id, { ...found, at: new Date(found.time ?? Date.now()) });
    const results = [...this.#byId.values()];
    if (results.length > REMEMBERED) this.#byId.delete(results[0].id);
    const fading = results[results.length - 1 - WITH_PICTURES];
    if (fading) Object.assign(fading, { picture: null, heatmap: null });
    const own = results.filter((result) => result.own);
    if (own.length > WITH_OWN_PICTURES) own[0].own = null;
    return true;
  }

  get(id) {
    return this.#byId.get(id);
  }

  /** Newest first, of a model, line and verdict if `wanted` names them. */
  list(wanted = {}) {
    return [...this.#byId.values()].reverse().filter((result) => isOf(result, wanted));
  }

  /** What each of `model` and `line` occurs with. */
  names(of) {
    return [...new Set(this.list().map(of).filter(Boolean))].sort();
  }
}

/** How the verdicts of results would change with another threshold. */
export function flips(results, threshold) {
  const least = scoreThreshold(threshold);
  const changed = results.filter((result) => result.raw.joint >= least !== result.anomalous);
  const toGood = changed.filter((result) => result.anomalous).length;
  return { ids: new Set(changed.map((result) => result.id)), toGood, toBad: changed.length - toGood };
}
