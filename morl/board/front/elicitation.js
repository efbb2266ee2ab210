// Choosing by comparing: which policy to recommend, which two outcomes to ask about next, and sessions. The same
// mathematics as morl/elicitation/questions.py and session.py, number for number.

import { ANSWERS, KINDS, Posterior, preferenceChances, requirementsOf, STREAMS, uniforms, weightsOf } from "./posterior.js";

export const FORMAT = "morl-choice-1";
export const DEFAULTS = { limit: 0.01, seed: 0, particles: 600, response: { noise: 0.02, indifference: 0.015, lapse: 0.02, link: "logistic" } };

const PAIR_STREAM = 500;
const [ALL_PAIRS, LIKELIEST, OTHER_PAIRS, MOST_DECISIONS] = [400, 22, 160, 40];
const MOST_POINTS = 1000; // outcomes that take part
const EQUAL = 1e9; // numbers are compared as multiples of its inverse, so that rounding decides nothing

// --- What to recommend, and what to ask -------------------------------------------------------------------------------

/** Returns for each row of a table the sum over particles of their shares times the numbers in it. */
function weighed(table, shares) {
  const count = shares.length;
  const sums = new Float64Array(table.length / count);
  for (let row = 0; row < sums.length; row++) {
    let total = 0;
    for (let p = 0; p < count; p++) total += shares[p] * table[row * count + p];
    sums[row] = total;
  }
  return sums;
}

/** Returns a table that is 1 where a regret is within a limit, and 0 elsewhere. */
function within(regrets, limit) {
  const serves = new Uint8Array(regrets.length);
  for (let place = 0; place < serves.length; place++) serves[place] = regrets[place] <= limit ? 1 : 0;
  return serves;
}

function rounded(numbers) {
  return numbers.map((number) => Math.floor(number * EQUAL + 0.5));
}

/** Returns the point of the lowest expected regret: { row, probabilityBest, probabilityWithin, expectedRegret }. */
function recommend(posterior, limit) {
  const { shares, regrets } = posterior;
  const expected = weighed(regrets, shares);
  const row = firstLargest(rounded(expected).map((value) => -value));
  const own = regrets.subarray(row * shares.length, (row + 1) * shares.length);
  const probability = (most) => Math.min(1, weighed(within(own, most), shares)[0]);
  return { row, probabilityBest: probability(1e-9), probabilityWithin: probability(limit), expectedRegret: expected[row] };
}

function firstLargest(numbers) {
  let best = 0;
  numbers.forEach((number, place) => (best = number > numbers[best] ? place : best));
  return best;
}

/** Returns the rows to compare next, [left, right]; null where all pairs have been compared. */
function bestPair(posterior, limit, asked, seed) {
  const draw = uniforms(seed, STREAMS * posterior.comparisons.length + PAIR_STREAM);
  const { regrets, shares } = posterior;
  const rows = posterior.points.length;
  let pairs = candidatePairs(regrets, shares, rows, draw).filter(([first, second]) => !asked.has(`${first} ${second}`));
  if (!pairs.length) pairs = firstPairLeft(rows, asked);
  if (!pairs.length) return null;
  const gains = information(posterior, pairs, decisions(regrets, shares, limit));
  const [first, second] = pairs[firstLargest(rounded(gains))];
  return draw(1)[0] < 0.5 ? [first, second] : [second, first];
}

function candidatePairs(regrets, shares, rows, draw) {
  let likely = Array.from({ length: rows }, (_, row) => row);
  const all = (rows * (rows - 1)) / 2 <= ALL_PAIRS;
  if (!all) {
    const best = rounded(weighed(within(regrets, 1e-9), shares));
    const lost = rounded(weighed(regrets, shares));
    likely.sort((a, b) => best[b] - best[a] || lost[a] - lost[b] || a - b);
    likely = likely.slice(0, LIKELIEST).sort((a, b) => a - b);
  }
  const pairs = likely.flatMap((first, place) => likely.slice(place + 1).map((second) => [first, second]));
  if (all) return pairs;
  const ends = draw(2 * OTHER_PAIRS).map((u) => Math.floor(u * rows));
  for (let place = 0; place < ends.length; place += 2) {
    const [a, b] = [ends[place], ends[place + 1]];
    if (a !== b) pairs.push([Math.min(a, b), Math.max(a, b)]);
  }
  return pairs;
}

function firstPairLeft(rows, asked) {
  for (let first = 0; first < rows; first++) {
    for (let second = first + 1; second < rows; second++) if (!asked.has(`${first} ${second}`)) return [[first, second]];
  }
  return [];
}

/** Returns { numbers, count }: for each particle the number of the policy that serves it within the limit, few in all. */
function decisions(regrets, shares, limit) {
  const particles = shares.length;
  const rows = regrets.length / particles;
  const serving = Array.from(shares, () => []); // rows that serve each particle: few of them
  for (let row = 0; row < rows; row++) {
    for (let p = 0; p < particles; p++) if (regrets[row * particles + p] <= limit) serving[p].push(row);
  }
  const numbers = new Int32Array(particles).fill(-1);
  let count = 0;
  let left = Array.from(numbers.keys());
  while (count < MOST_DECISIONS) {
    const served = new Float64Array(rows);
    for (const p of left) for (const row of serving[p]) served[row] += shares[p];
    const row = firstLargest(rounded(served));
    if (served[row] < 1e-6) break;
    for (const p of left) if (serving[p].includes(row)) numbers[p] = count;
    left = left.filter((p) => numbers[p] < 0);
    count++;
  }
  for (const p of left) numbers[p] = count;
  return { numbers, count: count + (left.length ? 1 : 0) };
}

/** Returns the mutual information of answers and decisions, for each pair. */
function information(posterior, pairs, { numbers, count }) {
  const { shares, settings } = posterior;
  const { lapse } = settings.response;
  const preferences = preferenceChances(settings.response);
  const two = new Float64Array(2);
  const sizes = new Float64Array(count);
  shares.forEach((share, p) => (sizes[numbers[p]] += share));
  const some = new Float64Array(count); // shares of the particles of each decision that accept an outcome,
  const left = new Float64Array(count); // and that prefer one
  const right = new Float64Array(count);
  return Float64Array.from(pairs, ([first, second]) => {
    for (const sums of [some, left, right]) sums.fill(0);
    const [valuesLeft, valuesRight] = [posterior.valuesOf(first), posterior.valuesOf(second)];
    const [refuseLeft, refuseRight] = [posterior.refusalsOf(first), posterior.refusalsOf(second)];
    for (let p = 0; p < shares.length; p++) {
      preferences(valuesLeft[p] - valuesRight[p], two);
      const accepts = shares[p] * (1 - refuseLeft[p] * refuseRight[p]);
      const number = numbers[p];
      some[number] += accepts;
      left[number] += accepts * two[0];
      right[number] += accepts * two[1];
    }
    const answers = [(number) => left[number], (number) => right[number],
      (number) => some[number] - left[number] - right[number], (number) => sizes[number] - some[number]];
    let gain = 0;
    for (const joint of answers) {
      let marginal = 0;
      for (let number = 0; number < count; number++) {
        const slips = (lapse / ANSWERS.length) * sizes[number];
        const part = Math.max((1 - lapse) * joint(number) + slips, 1e-300);
        marginal += part;
        gain += part * Math.log(part / Math.max(sizes[number], 1e-300));
      }
      gain -= marginal * Math.log(marginal);
    }
    return gain;
  });
}

// --- Sessions ---------------------------------------------------------------------------------------------------------

/** Comparisons of outcomes [[objective]], one after another, as morl.elicitation.Session. */
export class Session {
  constructor(points, settings = DEFAULTS, answers = []) {
    const scale = scaleOf(points);
    this.scale = scale;
    this.points = points;
    this.settings = settings;
    const scaled = points.map((point) => scale.outcome(point));
    this.rows = thinned(distinctRows(scaled), scaled);
    this.places = new Map(this.rows.map((row, place) => [keyOf(scaled[row]), place]));
    this.posteriors = [Posterior.beforeAnswers(this.rows.map((row) => scaled[row]), settings)];
    this.answers = [];
    this.known = {};
    for (const answer of answers) this.add(answer);
  }

  get posterior() {
    return this.posteriors.at(-1);
  }

  get recommendation() {
    this.known.recommendation ??= recommend(this.posterior, this.settings.limit);
    return { ...this.known.recommendation, row: this.rows[this.known.recommendation.row] };
  }

  /** Returns the rows to compare next, [left, right]; null where the session has come to its end. */
  get question() {
    if (this.known.question === undefined) this.known.question = this.next();
    return this.known.question;
  }

  next() {
    if (this.recommendation.expectedRegret < this.settings.limit) return null;
    const pair = bestPair(this.posterior, this.settings.limit, this.asked(), this.settings.seed);
    return pair && pair.map((place) => this.rows[place]);
  }

  /** Returns the pairs that have been compared, the smaller place first. */
  asked() {
    const place = (outcome) => this.places.get(keyOf(outcome)) ?? -1;
    return new Set(this.posterior.comparisons.map(({ left, right }) => [place(left), place(right)].sort((a, b) => a - b).join(" ")));
  }

  answer(word) {
    const [left, right] = this.question;
    this.add({ left: this.points[left], right: this.points[right], answer: word });
  }

  add({ left, right, answer }) {
    const comparison = { left: this.scale.outcome(left), right: this.scale.outcome(right), answer: ANSWERS.indexOf(answer) };
    this.posteriors.push(this.posterior.after(comparison));
    this.answers.push({ left, right, answer });
    this.known = {};
  }

  undo() {
    this.answers.pop();
    this.posteriors.pop();
    this.known = {};
  }

  /** Returns { utility, weights, minimum } by which the recommended policy is best: weights of returns, of sum 1. */
  get preference() {
    const { shares, regrets, particles: { kinds, objectives }, particles } = this.posterior;
    const row = this.rows.indexOf(this.recommendation.row);
    const own = regrets.subarray(row * shares.length, (row + 1) * shares.length);
    const most = [1e-9, this.settings.limit, 1].find((limit) => own.some((regret, p) => regret <= limit && shares[p] > 0));
    const counted = shares.map((share, p) => (own[p] <= most ? share : 0));
    const masses = KINDS.map((_, kind) => counted.reduce((sum, share, p) => sum + (kinds[p] === kind ? share : 0), 0));
    const kind = firstLargest(masses);
    const mean = (table) => Array.from({ length: objectives }, (_, k) =>
      counted.reduce((sum, share, p) => sum + (kinds[p] === kind ? (share / masses[kind]) * table[p * objectives + k] : 0), 0));
    const required = KINDS[kind] === "requirements" ? mean(requirementsOf(particles, this.posterior.front)) : Array(objectives).fill(0);
    return { utility: KINDS[kind], weights: this.scale.weights(mean(weightsOf(particles))), minimum: this.scale.minimum(required) };
  }

  /** Returns what choose.json holds. */
  record(objectives) {
    const { limit, seed, particles, response } = this.settings;
    return { format: FORMAT, objectives, limit, seed, particles, response, answers: this.answers };
  }
}

/** Returns { outcome, weights, minimum }: functions that scale an outcome to the range of some points, and others back. */
function scaleOf(points) {
  const ranges = points[0].map((_, k) => {
    const low = points.reduce((least, point) => Math.min(least, point[k]), Infinity) / 4; // a range may be too large
    return { low, span: points.reduce((most, point) => Math.max(most, point[k]), -Infinity) / 4 - low };
  });
  const outcome = (returns) => returns.map((value, k) => (ranges[k].span > 0 ? (value / 4 - ranges[k].low) / ranges[k].span : 1));
  const smallest = ranges.reduce((least, { span }) => Math.min(least, span > 0 ? span : 1), Infinity);
  const weights = (scaled) => {
    const ratios = scaled.map((weight, k) => (ranges[k].span > 0 ? weight * (smallest / ranges[k].span) : 0));
    const sum = ratios.reduce((total, ratio) => total + ratio, 0);
    return ratios.map((ratio) => (sum > 0 ? ratio / sum : 1 / ratios.length));
  };
  const minimum = (required) => required.map((share, k) => (share > 0 && ranges[k].span > 0 ? 4 * (ranges[k].low + share * ranges[k].span) : null));
  return { outcome, weights, minimum };
}

function keyOf(scaled) {
  return scaled.map((value) => Math.floor(value * EQUAL + 0.5)).join();
}

/** Returns the rows of different outcomes, the first of equal ones. */
function distinctRows(scaled) {
  const first = new Map();
  scaled.forEach((outcome, row) => {
    const key = keyOf(outcome);
    if (!first.has(key)) first.set(key, row);
  });
  return [...first.values()];
}

/** Returns an even choice of rows where there are too many, and the best of each objective. */
function thinned(rows, scaled) {
  if (rows.length <= MOST_POINTS) return rows;
  const before = (a, b) => {
    const k = scaled[a].findIndex((value, index) => value !== scaled[b][index]);
    return k < 0 ? a - b : scaled[a][k] - scaled[b][k];
  };
  const order = [...rows].sort(before);
  const step = (rows.length - 1) / (MOST_POINTS - 1);
  const even = Array.from({ length: MOST_POINTS }, (_, place) => order[Math.floor(place * step + 0.5)]);
  const best = scaled[0].map((_, k) => rows.reduce((first, row) => (scaled[row][k] > scaled[first][k] ? row : first), rows[0]));
  return [...new Set([...even, ...best])].sort((a, b) => a - b);
}
