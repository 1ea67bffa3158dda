// diffusion_core/mixture.py for parts whose covariances are multiples of the identity: every quantity of the diffused mixture, exactly, in float64.

export class GaussianMixture {
  /** weights (K) positive, scaled to sum 1; means K arrays of D numbers; variances (K) positive. */
  constructor(weights, means, variances) {
    const K = weights.length, D = means[0]?.length;
    if (!K || means.length !== K || variances.length !== K || !D || means.some((mean) => mean.length !== D)) {
      throw new RangeError(`expected K weights, K means of one length and K variances, got ${K}, ${means.length} and ${variances.length}`);
    }
    if (![...weights, ...variances].every((value) => value > 0 && value < Infinity)) throw new RangeError("weights and variances must be positive");
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    Object.assign(this, { K, D, means, variances, logWeights: Array.from(weights, (weight) => Math.log(weight / total)) });
  }

  /** log_prob: log p_t(x_t), Float64Array (N), in nats; x (N D) row by row, t in 0 .. T. */
  logProb(schedule, x, t) {
    const out = new Float64Array(x.length / this.D);
    this.#each(schedule, x, t, (n, share, logP) => { out[n] = logP; });
    return out;
  }

  /** score: the gradient of log p_t(x_t), Float64Array (N D). */
  score(schedule, x, t) {
    const a = schedule.at(t), alpha = Math.sqrt(a), D = this.D;
    return this.#averaged(schedule, x, t, (k, n, d) => (alpha * this.means[k][d] - x[n * D + d]) / this.#spread(a, k));
  }

  /** posterior_mean: E[x0 | x_t], Float64Array (N D). */
  x0(schedule, x, t) {
    const a = schedule.at(t), alpha = Math.sqrt(a), { D, means, variances } = this;
    const gains = Array.from(variances, (variance, k) => alpha * variance / this.#spread(a, k));
    return this.#averaged(schedule, x, t, (k, n, d) => means[k][d] + gains[k] * (x[n * D + d] - alpha * means[k][d]));
  }

  /** sample: {x, part}, n draws x0, Float64Array (n D), and the part each came from, Int32Array (n). */
  sample(n, generator) {
    const { D, means, variances } = this, part = generator.multinomial(this.logWeights.map(Math.exp), n);
    const x = generator.randnDouble(n * D).map((z, i) => means[part[Math.floor(i / D)]][i % D] + Math.sqrt(variances[part[Math.floor(i / D)]]) * z);
    return { x, part };
  }

  #spread(a, k) {
    return a * this.variances[k] + (1 - a);
  }

  // The mean over the parts, by their posterior probabilities, of value(part, row, axis): Float64Array (N D).
  #averaged(schedule, x, t, value) {
    const out = new Float64Array(x.length);
    this.#each(schedule, x, t, (n, share) => {
      for (let d = 0; d < this.D; d++) for (let k = 0; k < this.K; k++) out[n * this.D + d] += share[k] * value(k, n, d);
    });
    return out;
  }

  // visit(row, posterior probabilities of the parts (K), log p_t of the row); the array is used again for the next row.
  #each(schedule, x, t, visit) {
    const { K, D, means } = this, a = schedule.at(t), alpha = Math.sqrt(a), share = new Float64Array(K);
    if (x.length % D) throw new RangeError(`x must have N rows of ${D} numbers, got ${x.length} in all`);
    const spreads = Array.from(share, (_, k) => this.#spread(a, k));
    const heights = this.logWeights.map((weight, k) => weight - D / 2 * Math.log(2 * Math.PI * spreads[k]));
    for (let n = 0; n < x.length / D; n++) {
      let highest = -Infinity, total = 0;
      for (let k = 0; k < K; k++) {
        let distance = 0;
        for (let d = 0; d < D; d++) distance += (x[n * D + d] - alpha * means[k][d]) ** 2;
        share[k] = heights[k] - distance / (2 * spreads[k]);
        highest = Math.max(highest, share[k]);
      }
      for (let k = 0; k < K; k++) total += share[k] = Math.exp(share[k] - highest);
      for (let k = 0; k < K; k++) share[k] /= total;
      visit(n, share, highest + Math.log(total));
    }
  }
}
