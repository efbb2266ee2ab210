// What a vector return is worth, exactly as morl.utilities defines it (tests/board/test_page.py compares the two).
// The browser uses them to choose a policy, never to measure a front. Returns are divided by `scales` first, where they are
// given: what `Run.policy(normalized=True)` does.

/** Returns a preference scaled to sum one; equal weights where all are zero. */
export function normalized(preference) {
  const sum = preference.reduce((total, weight) => total + weight, 0);
  return preference.map((weight) => (sum > 0 ? weight / sum : 1 / preference.length));
}

/** Returns sum_k w_k r_k of each point. */
function linear(points, { weights, scales = null }) {
  return eachPoint(points, (k, value) => weights[k] * scaled(value, scales, k), (total, part) => total + part, 0);
}

/** Returns min_k w_k (r_k - z_k) of each point, z the ideal point. */
function tchebycheff(points, { weights, ideal, scales = null }) {
  return eachPoint(points, (k, value) => weights[k] * (scaled(value, scales, k) - scaled(ideal[k], scales, k)), Math.min, Infinity);
}

/** Returns sum_k w_k r_k of each point that has r_k >= minimum_k in every objective, and minus infinity of the others. */
function linearAboveMinimum(points, { weights, minimum, scales = null }) {
  return eachPoint(points, (k, value) => (value >= minimum[k] ? weights[k] * scaled(value, scales, k) : -Infinity), (total, part) => total + part, 0);
}

function scaled(value, scales, k) {
  return scales ? value / scales[k] : value;
}

/** Returns whether scales differ so much that preferences weigh returns in them by default, as morl.preferences.scales_differ. */
export function scalesDiffer(scales) {
  return Math.max(...scales) / 10 > Math.min(...scales);
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
