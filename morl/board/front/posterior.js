// What answers say about a user's utility. The same mathematics as morl/elicitation/posterior.py, number for number, so
// that a page without a server can ask too; tests/board/test_elicitation.py plays the same sessions through both. Sources
// and reasons stand there.
//
// Outcomes are arrays of returns, scaled to the range of the front. Tables of points and particles are Float64Arrays, one
// row for each point.

export const ANSWERS = ["left", "right", "equal", "neither"];
export const KINDS = ["linear", "tchebycheff", "requirements"];
export const STREAMS = 1000; // streams of random numbers of each answer

const [, TCHEBYCHEFF, REQUIREMENTS] = KINDS.map((_, kind) => kind);
const MEAN_REQUIREMENTS = 1.5; // objectives in which a particle with requirements has one, on average
const LARGEST_MISSED = 0.95; // share of the points that miss a requirement at most
const LARGEST_LEVEL = 0.95; // value from which outcomes are acceptable at most
const UNMET = -0.25; // value of an outcome that just misses a requirement, where others meet all
const ALWAYS = 1e9; // margin by which outcomes are acceptable to users who accept everything
const MOVES = 6; // moves of each rejuvenation

// --- Random numbers ---------------------------------------------------------------------------------------------------

function hashed(given) {
  let x = given >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d) >>> 0;
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b) >>> 0;
  return (x ^ (x >>> 16)) >>> 0;
}

/** Returns a function of a count that draws so many uniform numbers, each time from the next stream. */
export function uniforms(seed, stream) {
  let next = stream;
  return (count) => {
    const key = (hashed(seed) ^ next++) >>> 0;
    const start = hashed(key);
    return Float64Array.from({ length: count }, (_, place) => (hashed((place ^ start) >>> 0) + 0.5) / 2 ** 32);
  };
}

// --- Particles and their values ---------------------------------------------------------------------------------------

/** Returns particles { kinds, logs, levels, objectives } from the prior; tables hold one row for each particle. */
function priorParticles(count, objectives, draw) {
  const kinds = Int32Array.from({ length: count }, (_, p) => p % KINDS.length);
  const logs = draw(count * objectives).map((u) => Math.log(-Math.log(u)));
  return { kinds, logs, levels: draw(count * objectives), objectives };
}

/** Returns the weights of each particle, of sum 1. */
export function weightsOf({ logs, objectives }) {
  const weights = logs.map(Math.exp);
  for (let start = 0; start < weights.length; start += objectives) {
    let sum = 0;
    for (let k = 0; k < objectives; k++) sum += weights[start + k];
    for (let k = 0; k < objectives; k++) weights[start + k] /= sum;
  }
  return weights;
}

/** Returns the required returns of each particle, shares of the range; 0 requires nothing. Levels are shares of the points. */
export function requirementsOf({ levels, objectives }, points) {
  const count = points.length;
  const requiredShare = Math.min(0.5, MEAN_REQUIREMENTS / objectives);
  const columns = points[0].map((_, k) => Float64Array.from(points, (point) => point[k]).sort());
  return levels.map((level, place) => {
    const ordered = columns[place % objectives];
    const missed = Math.max(0, 1 - (1 - level) / requiredShare) * LARGEST_MISSED;
    if (missed <= 0) return 0;
    const at = missed * (count - 1);
    const below = Math.min(Math.floor(at), Math.max(0, count - 2));
    return ordered[below] + (at - below) * (ordered[Math.min(below + 1, count - 1)] - ordered[below]);
  });
}

/** Outcomes as columns, one for each objective, with what they are worth to one particle at a time: tight loops. */
class Columns {
  constructor(outcomes) {
    this.columns = (outcomes[0] ?? []).map((_, k) => Float64Array.from(outcomes, (outcome) => outcome[k]));
    this.utilities = new Float64Array(outcomes.length);
    this.missing = new Float64Array(outcomes.length);
  }

  /** Sets the utilities of all outcomes to a particle, weighted sums where there are requirements, and what these miss. */
  weigh(kind, weights, required, start) {
    const { columns, utilities, missing } = this;
    utilities.fill(kind === TCHEBYCHEFF ? Infinity : 0);
    if (kind === REQUIREMENTS) missing.fill(-Infinity);
    for (let k = 0; k < columns.length; k++) {
      if (kind === TCHEBYCHEFF) lower(utilities, columns[k], weights[start + k]);
      else add(utilities, columns[k], weights[start + k]);
      if (kind === REQUIREMENTS) raise(missing, columns[k], required[start + k] > 0 ? required[start + k] : -1);
    }
  }
}

function add(sums, column, weight) {
  for (let row = 0; row < sums.length; row++) sums[row] += weight * column[row];
}

function lower(lowest, column, weight) {
  for (let row = 0; row < lowest.length; row++) {
    const part = weight * (column[row] - 1);
    if (part < lowest[row]) lowest[row] = part;
  }
}

function raise(most, column, needed) {
  for (let row = 0; row < most.length; row++) {
    const short = needed - column[row];
    if (short > most[row]) most[row] = short;
  }
}

/** The values of outcomes to particles, as shares of their utility's range over a front. */
class Valuation {
  constructor(particles, points) {
    const count = particles.kinds.length;
    this.particles = particles;
    this.weights = weightsOf(particles);
    this.required = requirementsOf(particles, points);
    this.best = new Float64Array(count);
    this.span = new Float64Array(count);
    this.impossible = new Uint8Array(count);
    const front = new Columns(points);
    for (let p = 0; p < count; p++) this.setRange(p, front);
  }

  setRange(p, front) {
    const kind = this.particles.kinds[p];
    front.weigh(kind, this.weights, this.required, p * this.particles.objectives);
    const { utilities, missing } = front;
    let [best, worst, met, most, least] = [-Infinity, Infinity, -Infinity, -Infinity, Infinity];
    for (let row = 0; row < utilities.length; row++) {
      const utility = utilities[row];
      if (utility > best) best = utility;
      if (utility < worst) worst = utility;
      if (kind !== REQUIREMENTS) continue;
      const short = missing[row];
      if (short > most) most = short;
      if (short < least) least = short;
      if (short <= 0 && utility > met) met = utility;
    }
    if (kind === REQUIREMENTS) {
      this.impossible[p] = met === -Infinity ? 1 : 0;
      [best, worst] = this.impossible[p] ? [-least, -most] : [met, worst];
    }
    this.best[p] = best;
    this.span[p] = best - worst > 1e-12 ? best - worst : 1;
  }

  /** Returns { values, acceptances } of outcomes, one row for each. */
  of(response, outcomes) {
    const { kinds, levels, objectives } = this.particles;
    const count = kinds.length;
    const rises = risesOf(response);
    const values = new Float64Array(outcomes.length * count);
    const acceptances = new Float64Array(outcomes.length * count);
    const columns = new Columns(outcomes);
    const { utilities, missing } = columns;
    for (let p = 0; p < count; p++) {
      const level = levels[p * objectives];
      columns.weigh(kinds[p], this.weights, this.required, p * objectives);
      for (let row = 0; row < utilities.length; row++) {
        let value = 1 - (this.best[p] - utilities[row]) / this.span[p];
        let margin = ALWAYS; // half of the users accept everything
        if (kinds[p] === REQUIREMENTS) {
          const short = missing[row];
          if (short > 0) value = this.impossible[p] ? 1 - (this.best[p] + short) / this.span[p] : UNMET - short;
          margin = -short;
        } else if (level > 0.5) {
          margin = value - (2 * level - 1) * LARGEST_LEVEL;
        }
        values[row * count + p] = value;
        acceptances[row * count + p] = margin === ALWAYS ? 1 : rises(margin);
      }
    }
    return { values, acceptances };
  }
}

/** Returns the function that gives the probability that a margin plus an error is positive. */
function risesOf({ noise, link }) {
  return (margin) => {
    const scaled = Math.min(36, Math.max(-36, margin / noise));
    return link === "probit" ? normalDistribution(scaled) : 1 / (1 + Math.exp(-scaled));
  };
}

function normalDistribution(x) {
  const t = 1 / (1 + 0.2316419 * Math.abs(x));
  const series = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  const tail = (Math.exp(-0.5 * x * x) * series) / Math.sqrt(2 * Math.PI);
  return x >= 0 ? 1 - tail : tail;
}

/** Returns a function that fills `into` with the probabilities of the four answers. */
export function answerChances(response) {
  const { indifference, lapse } = response;
  const rises = risesOf(response);
  return (valueLeft, valueRight, acceptLeft, acceptRight, into) => {
    const difference = valueLeft - valueRight;
    const left = rises(difference - indifference);
    const right = rises(-difference - indifference);
    const neither = (1 - acceptLeft) * (1 - acceptRight);
    const some = 1 - neither;
    const floor = lapse / ANSWERS.length;
    into[0] = (1 - lapse) * some * left + floor;
    into[1] = (1 - lapse) * some * right + floor;
    into[2] = (1 - lapse) * some * (1 - left - right) + floor;
    into[3] = (1 - lapse) * neither + floor;
  };
}

// --- The posterior ----------------------------------------------------------------------------------------------------

export class Posterior {
  constructor(points, particles, logs, comparisons, settings) {
    Object.assign(this, { points, particles, logs, comparisons, settings, shares: sharesOf(logs) });
    Object.assign(this, new Valuation(particles, points).of(settings.response, points));
  }

  static beforeAnswers(points, settings) {
    const particles = priorParticles(settings.particles, points[0].length, uniforms(settings.seed, 0));
    return new Posterior(points, particles, new Float64Array(settings.particles), [], settings);
  }

  /** The effective number of particles. */
  get effectiveSize() {
    return effectiveSize(this.shares);
  }

  /** The regret of each point to each particle, from 0 to 1, the worst. */
  get regrets() {
    this.knownRegrets ??= this.values.map((value) => Math.min(1, Math.max(0, 1 - value)));
    return this.knownRegrets;
  }

  /** Returns the posterior after one more answer { left, right, answer }; this one stays as it is. */
  after(comparison) {
    const { points, settings } = this;
    const comparisons = [...this.comparisons, comparison];
    const added = logLikelihood(this.particles, points, [comparison], settings.response);
    const logs = this.logs.map((value, p) => value + added[p]);
    const shares = sharesOf(logs);
    if (effectiveSize(shares) >= 0.5 * shares.length) return new Posterior(points, this.particles, logs, comparisons, settings);
    const draw = uniforms(settings.seed, STREAMS * comparisons.length);
    const resampled = taken(this.particles, resampledRows(shares, draw(1)[0]));
    const particles = moved(resampled, points, comparisons, settings.response, draw);
    return new Posterior(points, particles, new Float64Array(shares.length), comparisons, settings);
  }
}

function sharesOf(logs) {
  const largest = logs.reduce((high, value) => Math.max(high, value), -Infinity);
  const sizes = logs.map((value) => Math.exp(value - largest));
  const sum = sizes.reduce((total, value) => total + value, 0);
  return sizes.map((value) => value / sum);
}

function effectiveSize(shares) {
  return 1 / shares.reduce((total, share) => total + share * share, 0);
}

function logLikelihood(particles, points, comparisons, response) {
  const count = particles.kinds.length;
  const outcomes = comparisons.flatMap(({ left, right }) => [left, right]);
  const { values, acceptances } = new Valuation(particles, points).of(response, outcomes);
  const chances = answerChances(response);
  const total = new Float64Array(count);
  const four = new Float64Array(ANSWERS.length);
  comparisons.forEach(({ answer }, number) => {
    for (let p = 0; p < count; p++) {
      const left = 2 * number * count + p;
      const right = left + count;
      chances(values[left], values[right], acceptances[left], acceptances[right], four);
      total[p] += Math.log(four[answer]);
    }
  });
  return total;
}

function taken({ kinds, logs, levels, objectives }, rows) {
  const table = (values) => {
    const chosen = new Float64Array(rows.length * objectives);
    rows.forEach((row, p) => chosen.set(values.subarray(row * objectives, (row + 1) * objectives), p * objectives));
    return chosen;
  };
  return { kinds: Int32Array.from(rows, (row) => kinds[row]), logs: table(logs), levels: table(levels), objectives };
}

/** Returns rows drawn in proportion to their shares (systematic resampling). */
function resampledRows(shares, offset) {
  const rows = [];
  let row = 0;
  let reached = shares[0];
  for (let place = 0; place < shares.length; place++) {
    const wanted = (place + offset) / shares.length;
    while (reached <= wanted && row < shares.length - 1) reached += shares[++row];
    rows.push(row);
  }
  return rows;
}

/** Returns particles after some Metropolis moves, which leave the posterior as it is and separate copies. */
function moved(given, points, comparisons, response, draw) {
  const { objectives } = given;
  const density = (particles) => {
    const total = logLikelihood(particles, points, comparisons, response);
    particles.logs.forEach((log, place) => (total[Math.floor(place / objectives)] += log - Math.exp(log)));
    return total;
  };
  let particles = given;
  let densities = density(particles);
  for (let move = 0; move < MOVES; move++) {
    const proposed = move === 0 ? flipped(particles, draw) : shifted(particles, draw, 1 / move);
    const proposedDensities = density(proposed);
    const accepted = draw(densities.length).map((u, p) => (Math.log(u) < proposedDensities[p] - densities[p] ? 1 : 0));
    const merged = (old, fresh, width) => old.map((value, place) => (accepted[Math.floor(place / width)] ? fresh[place] : value));
    densities = merged(densities, proposedDensities, 1);
    particles = {
      kinds: merged(particles.kinds, proposed.kinds, 1), logs: merged(particles.logs, proposed.logs, objectives),
      levels: merged(particles.levels, proposed.levels, objectives), objectives,
    };
  }
  return particles;
}

/** Returns particles of another kind with the same numbers. */
function flipped(particles, draw) {
  const u = draw(particles.kinds.length);
  return { ...particles, kinds: particles.kinds.map((kind, p) => (kind + 1 + Math.floor(u[p] * (KINDS.length - 1))) % KINDS.length) };
}

/** Returns particles moved along the difference of two others of their kind. */
function shifted({ kinds, logs, levels, objectives }, draw, size) {
  const count = kinds.length;
  const [first, second, jitters] = [draw(count), draw(count), draw(count * objectives)];
  const alike = KINDS.map((_, kind) => Array.from(kinds.keys()).filter((p) => kinds[p] === kind));
  const shiftedLogs = logs.slice();
  const shiftedLevels = levels.slice();
  for (let p = 0; p < count; p++) {
    const others = alike[kinds[p]];
    const a = objectives * others[Math.floor(first[p] * others.length)];
    const b = objectives * others[Math.floor(second[p] * others.length)];
    const step = (size * 2.38) / Math.sqrt(2 * (kinds[p] === REQUIREMENTS ? 2 * objectives : objectives));
    for (let k = 0; k < objectives; k++) {
      const place = p * objectives + k;
      const jitter = 0.04 * (jitters[place] - 0.5);
      shiftedLogs[place] += step * (logs[a + k] - logs[b + k]) + jitter;
      const level = Math.abs(levels[place] + (step * (levels[a + k] - levels[b + k]) + 0.25 * jitter));
      shiftedLevels[place] = Math.abs(1 - Math.abs(1 - level)); // reflected at 0 and 1
    }
  }
  return { kinds, logs: shiftedLogs, levels: shiftedLevels, objectives };
}
