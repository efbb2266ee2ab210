// What a vector return is worth, exactly as morl.utilities defines it (tests/board/test_page.py compares the two).
// The browser uses them to choose a policy, never to measure a front.

/** Returns a preference scaled to sum one; equal weights where all are zero. */
export function normalized(preference) {
  const sum = preference.reduce((total, weight) => total + weight, 0);
  return preference.map((weight) => (sum > 0 ? weight / sum : 1 / preference.length));
}

/** Returns sum_k w_k r_k of each point. */
function linear(points, { weights }) {
  return eachPoint(points, (k, value) => weights[k] * value, (total, part) => total + part, 0);
}

/** Returns min_k w_k (r_k - z_k) of each point, z the ideal point. */
function tchebycheff(points, { weights, ideal }) {
  return eachPoint(points, (k, value) => weights[k] * (value - ideal[k]), Math.min, Infinity);
}

/** Returns sum_k w_k r_k of each point that has r_k >= minimum_k in every objective, and minus infinity of the others. */
function linearAboveMinimum(points, { weights, minimum }) {
  return eachPoint(points, (k, value) => (value >= minimum[k] ? weights[k] * value : -Infinity), (total, part) => total + part, 0);
}

export const UTILITIES = {
  linear: { label: "Weighted sum", of: linear },
  tchebycheff: { label: "Tchebycheff (worst shortfall)", of: tchebycheff },
  linear_above_minimum: { label: "Weighted sum above a minimum", of: linearAboveMinimum },
};

function eachPoint({ shape: [count, objectives], values }, part, join, start) {
  const result = new Float64Array(count);
  for (let point = 0; point < count; point++) {
    let total = start;
    for (let k = 0; k < objectives; k++) total = join(total, part(k, values[point * objectives + k]));
    result[point] = total;
  }
  return result;
}
