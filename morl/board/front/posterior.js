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
const EQUAL_ANSWER = ANSWERS.indexOf("equal");
const CERTAIN = 36; // margins of so many times the noise decide an answer
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

/** The points of a front as columns, one for each objective, and each column in ascending order. */
export class Front {
  constructor(points) {
    this.points = points;
    this.columns = columnsOf(points);
    this.ordered = this.columns.map((column) => column.slice().sort());
  }
}

function columnsOf(outcomes) {
  return (outcomes[0] ?? []).map((_, k) => Float64Array.from(outcomes, (outcome) => outcome[k]));
}

/** Returns the required returns of each particle, shares of the range; 0 requires nothing. Levels are shares of the points. */
export function requirementsOf({ levels, objectives }, { ordered }) {
  const requiredShare = Math.min(0.5, MEAN_REQUIREMENTS / objectives);
  const count = ordered[0].length;
  const required = new Float64Array(levels.length);
  for (let place = 0; place < required.length; place++) {
    const missed = (1 - (1 - levels[place]) / requiredShare) * LARGEST_MISSED;
    if (missed <= 0) continue;
    const column = ordered[place % objectives];
    const at = missed * (count - 1);
    const below = Math.min(Math.floor(at), Math.max(0, count - 2));
    required[place] = column[below] + (at - below) * (column[Math.min(below + 1, count - 1)] - column[below]);
  }
  return required;
}

/** The utilities of outcomes for one particle at a time, and by how much they miss its requirements. */
class OutcomeUtilities {
  constructor(columns) {
    this.columns = columns;
    this.utilities = new Float64Array(columns[0]?.length ?? 0);
    this.missing = new Float64Array(this.utilities.length);
  }

  /** Sets the utilities of all outcomes to a particle, weighted sums where there are requirements, and what these miss. */
  weigh(kind, weights, required, start) {
    const { columns, utilities, missing } = this;
    if (kind === TCHEBYCHEFF) {
      utilities.fill(Infinity);
      for (let k = 0; k < columns.length; k++) lower(utilities, columns[k], weights[start + k]);
      return;
    }
    weightedSums(utilities, columns, weights, start);
    if (kind !== REQUIREMENTS) return;
    missing.fill(-Infinity);
    for (let k = 0; k < columns.length; k++) raise(missing, columns[k], required[start + k] > 0 ? required[start + k] : -1);
  }
}

/** Sets sums of three columns in one pass: memory is read and written a third as often. */
function weightedSums(sums, columns, weights, start) {
  let k = 0;
  for (; k + 2 < columns.length; k += 3) {
    const a = columns[k];
    const b = columns[k + 1];
    const c = columns[k + 2];
    const u = weights[start + k];
    const v = weights[start + k + 1];
    const w = weights[start + k + 2];
    if (k === 0) for (let row = 0; row < sums.length; row++) sums[row] = u * a[row] + v * b[row] + w * c[row];
    else for (let row = 0; row < sums.length; row++) sums[row] = sums[row] + u * a[row] + v * b[row] + w * c[row];
  }
  if (k === 0) sums.fill(0);
  for (; k < columns.length; k++) add(sums, columns[k], weights[start + k]);
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

function largest(numbers) {
  let most = -Infinity;
  for (let row = 0; row < numbers.length; row++) if (numbers[row] > most) most = numbers[row];
  return most;
}

function smallest(numbers) {
  let least = Infinity;
  for (let row = 0; row < numbers.length; row++) if (numbers[row] < least) least = numbers[row];
  return least;
}

/** Returns the largest utility of an outcome that misses no requirement; minus infinity where each misses one. */
function largestMet(utilities, missing) {
  let most = -Infinity;
  for (let row = 0; row < utilities.length; row++) if (missing[row] <= 0 && utilities[row] > most) most = utilities[row];
  return most;
}

/**
 * Particles with their weights, requirements, and the range of each one's utility over a front, of which values are
 * shares: `best`, `span`, and whether it is `impossible` that a point meets all requirements. A range costs a pass over
 * the front, by far the most of an answer, so ranges stay with their particles.
 */
class Utilities {
  constructor(fields) {
    Object.assign(this, fields);
  }

  static of(particles, front) {
    const count = particles.kinds.length;
    const [best, span, impossible] = [new Float64Array(count), new Float64Array(count), new Uint8Array(count)];
    const required = requirementsOf(particles, front);
    const utilities = new Utilities({ particles, weights: weightsOf(particles), required, best, span, impossible });
    const outcomes = new OutcomeUtilities(front.columns);
    for (let p = 0; p < count; p++) utilities.setRange(p, outcomes);
    return utilities;
  }

  setRange(p, front) {
    const kind = this.particles.kinds[p];
    front.weigh(kind, this.weights, this.required, p * this.particles.objectives);
    let best = largest(front.utilities);
    let worst = smallest(front.utilities);
    if (kind === REQUIREMENTS) {
      best = largestMet(front.utilities, front.missing);
      this.impossible[p] = best === -Infinity ? 1 : 0;
      if (this.impossible[p]) {
        best = -smallest(front.missing);
        worst = -largest(front.missing);
      }
    }
    this.best[p] = best;
    this.span[p] = best - worst > 1e-12 ? best - worst : 1;
  }

  /** Returns the value of an outcome to a particle, given its utility and by how much it misses the requirements. */
  value(p, utility, short) {
    if (this.particles.kinds[p] === REQUIREMENTS && short > 0) {
      return this.impossible[p] ? 1 - (this.best[p] + short) / this.span[p] : UNMET - short;
    }
    return 1 - (this.best[p] - utility) / this.span[p];
  }

  /** Returns the probability that an outcome is acceptable to a particle, given its value and what it misses. */
  acceptance(p, value, short, rises) {
    const { kinds, levels, objectives } = this.particles;
    if (kinds[p] === REQUIREMENTS) return rises(-short);
    const level = levels[p * objectives];
    return level > 0.5 ? rises(value - (2 * level - 1) * LARGEST_LEVEL) : 1; // half of the users accept everything
  }

  /** Returns the values of a front's points, one row for each. */
  values(front) {
    const { kinds, objectives } = this.particles;
    const count = kinds.length;
    const outcomes = new OutcomeUtilities(front.columns);
    const { utilities, missing } = outcomes;
    const values = new Float64Array(utilities.length * count);
    for (let p = 0; p < count; p++) {
      outcomes.weigh(kinds[p], this.weights, this.required, p * objectives);
      const best = this.best[p];
      const span = this.span[p];
      for (let row = 0, place = p; row < utilities.length; row++, place += count) values[place] = 1 - (best - utilities[row]) / span;
      if (kinds[p] !== REQUIREMENTS) continue;
      for (let row = 0; row < utilities.length; row++) if (missing[row] > 0) values[row * count + p] = this.value(p, utilities[row], missing[row]);
    }
    return values;
  }

  /** Returns the probabilities that an outcome of these values is not acceptable. */
  refusals(outcome, values, response) {
    const { kinds, objectives } = this.particles;
    const rises = risesOf(response);
    const refusals = new Float64Array(values.length);
    for (let p = 0; p < refusals.length; p++) {
      let short = -Infinity;
      if (kinds[p] === REQUIREMENTS) {
        for (let k = 0; k < objectives; k++) {
          const needed = this.required[p * objectives + k];
          short = Math.max(short, (needed > 0 ? needed : -1) - outcome[k]);
        }
      }
      refusals[p] = 1 - this.acceptance(p, values[p], short, rises);
    }
    return refusals;
  }

  /** Returns the utilities of some particles. */
  taken(rows) {
    return this.rebuilt((values, width) => {
      const chosen = new values.constructor(rows.length * width);
      for (let p = 0; p < rows.length; p++) {
        for (let k = 0; k < width; k++) chosen[p * width + k] = values[rows[p] * width + k];
      }
      return chosen;
    });
  }

  /** Returns these utilities, with those of others in the places that are accepted. */
  merged(others, accepted) {
    return this.rebuilt((values, width, fresh) => {
      const chosen = values.slice();
      for (let p = 0; p < accepted.length; p++) {
        if (accepted[p]) for (let k = p * width; k < (p + 1) * width; k++) chosen[k] = fresh[k];
      }
      return chosen;
    }, others);
  }

  /** Returns utilities with the arrays that a function of these arrays, their entries for each particle, and others' returns. */
  rebuilt(choose, others = this) {
    const { objectives } = this.particles;
    const built = (mine, theirs, width, names) => Object.fromEntries(names.map((name) => [name, choose(mine[name], width, theirs[name])]));
    const particles = {
      ...built(this.particles, others.particles, 1, ["kinds"]),
      ...built(this.particles, others.particles, objectives, ["logs", "levels"]), objectives,
    };
    return new Utilities({
      particles, ...built(this, others, objectives, ["weights", "required"]), ...built(this, others, 1, ["best", "span", "impossible"]),
    });
  }
}

/** Returns the function that gives the probability that a margin plus an error is positive. */
function risesOf({ noise, link }) {
  const distribution = link === "probit" ? normalDistribution : logisticDistribution;
  const [highest, lowest] = [distribution(CERTAIN), distribution(-CERTAIN)];
  return (margin) => {
    const scaled = margin / noise;
    if (scaled >= CERTAIN) return highest; // most margins are many times the noise
    return scaled <= -CERTAIN ? lowest : distribution(scaled);
  };
}

function logisticDistribution(x) {
  return 1 / (1 + Math.exp(-x));
}

function normalDistribution(x) {
  const t = 1 / (1 + 0.2316419 * Math.abs(x));
  const series = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  const tail = (Math.exp(-0.5 * x * x) * series) / Math.sqrt(2 * Math.PI);
  return x >= 0 ? 1 - tail : tail;
}

/** Returns a function that fills `into` with the probabilities that users who accept an outcome say left, and right. */
export function preferenceChances(response) {
  const { noise, indifference, link } = response;
  const farthest = CERTAIN + indifference / noise;
  if (link === "probit" || farthest > 600) {
    const rises = risesOf(response);
    return (difference, into) => {
      into[0] = rises(difference - indifference);
      into[1] = rises(-difference - indifference);
    };
  }
  const threshold = Math.exp(indifference / noise); // one exponential serves both sides
  return (difference, into) => {
    const odds = Math.exp(Math.min(farthest, Math.max(-farthest, difference / noise)));
    into[0] = odds / (odds + threshold);
    into[1] = 1 / (1 + odds * threshold);
  };
}

/** Returns a function that gives the probability of an answer. */
function answerChance(response) {
  const { lapse } = response;
  const preferences = preferenceChances(response);
  const two = new Float64Array(2);
  return (answer, valueLeft, valueRight, refuseLeft, refuseRight) => {
    preferences(valueLeft - valueRight, two);
    const neither = refuseLeft * refuseRight;
    let chance = neither;
    if (answer < EQUAL_ANSWER) chance = (1 - neither) * two[answer];
    if (answer === EQUAL_ANSWER) chance = (1 - neither) * (1 - two[0] - two[1]);
    return (1 - lapse) * chance + lapse / ANSWERS.length;
  };
}

// --- The posterior ----------------------------------------------------------------------------------------------------

export class Posterior {
  constructor(front, utilities, logs, comparisons, settings, values = utilities.values(front)) {
    const { particles } = utilities;
    Object.assign(this, { front, utilities, particles, logs, comparisons, settings, values, shares: sharesOf(logs) });
    this.refusals = new Map();
  }

  static beforeAnswers(points, settings) {
    const front = new Front(points);
    const particles = priorParticles(settings.particles, points[0].length, uniforms(settings.seed, 0));
    return new Posterior(front, Utilities.of(particles, front), new Float64Array(settings.particles), [], settings);
  }

  get points() {
    return this.front.points;
  }

  /** The effective number of particles. */
  get effectiveSize() {
    return effectiveSize(this.shares);
  }

  /** The regret of each point to each particle, from 0 to 1, the worst. */
  get regrets() {
    if (!this.knownRegrets) {
      this.knownRegrets = new Float64Array(this.values.length);
      for (let place = 0; place < this.values.length; place++) {
        this.knownRegrets[place] = Math.min(1, Math.max(0, 1 - this.values[place]));
      }
    }
    return this.knownRegrets;
  }

  /** Returns the values of a point to all particles. */
  valuesOf(row) {
    return this.values.subarray(row * this.shares.length, (row + 1) * this.shares.length);
  }

  /** Returns the probabilities that a point is not acceptable to each particle: computed for the points that are compared. */
  refusalsOf(row) {
    if (!this.refusals.has(row)) {
      this.refusals.set(row, this.utilities.refusals(this.points[row], this.valuesOf(row), this.settings.response));
    }
    return this.refusals.get(row);
  }

  /** Returns the posterior after one more answer { left, right, answer }; this one stays as it is. */
  after(comparison) {
    const { front, settings, utilities } = this;
    const comparisons = [...this.comparisons, comparison];
    const added = logLikelihood(utilities, [comparison], settings.response);
    const logs = this.logs.map((value, p) => value + added[p]);
    const shares = sharesOf(logs);
    if (effectiveSize(shares) >= 0.5 * shares.length) return new Posterior(front, utilities, logs, comparisons, settings, this.values);
    const draw = uniforms(settings.seed, STREAMS * comparisons.length);
    const resampled = utilities.taken(resampledRows(shares, draw(1)[0]));
    const particles = moved(resampled, front, comparisons, settings.response, draw);
    return new Posterior(front, particles, new Float64Array(shares.length), comparisons, settings);
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

function logLikelihood(utilities, comparisons, response) {
  const { kinds, objectives } = utilities.particles;
  const outcomes = new OutcomeUtilities(columnsOf(comparisons.flatMap(({ left, right }) => [left, right])));
  const { missing } = outcomes;
  const chance = answerChance(response);
  const rises = risesOf(response);
  const answers = comparisons.map(({ answer }) => answer);
  const total = new Float64Array(kinds.length);
  for (let p = 0; p < kinds.length; p++) {
    outcomes.weigh(kinds[p], utilities.weights, utilities.required, p * objectives);
    for (let number = 0; number < answers.length; number++) {
      const left = 2 * number;
      const right = left + 1;
      const valueLeft = utilities.value(p, outcomes.utilities[left], missing[left]);
      const valueRight = utilities.value(p, outcomes.utilities[right], missing[right]);
      const refuseLeft = 1 - utilities.acceptance(p, valueLeft, missing[left], rises);
      const refuseRight = 1 - utilities.acceptance(p, valueRight, missing[right], rises);
      total[p] += Math.log(chance(answers[number], valueLeft, valueRight, refuseLeft, refuseRight));
    }
  }
  return total;
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
function moved(given, front, comparisons, response, draw) {
  const density = (utilities) => {
    const { logs, objectives } = utilities.particles;
    const total = logLikelihood(utilities, comparisons, response);
    logs.forEach((log, place) => (total[Math.floor(place / objectives)] += log - Math.exp(log)));
    return total;
  };
  let utilities = given;
  let densities = density(utilities);
  for (let move = 0; move < MOVES; move++) {
    const { particles } = utilities;
    const proposed = Utilities.of(move === 0 ? flipped(particles, draw) : shifted(particles, draw, 1 / move), front);
    const proposedDensities = density(proposed);
    const accepted = draw(densities.length).map((u, p) => (Math.log(u) < proposedDensities[p] - densities[p] ? 1 : 0));
    densities = densities.map((value, p) => (accepted[p] ? proposedDensities[p] : value));
    utilities = utilities.merged(proposed, accepted);
  }
  return utilities;
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
