"use strict";
// Moves prevalence, miss rate, harm and costs in the page. The steps are those of duoscan.policies.certify,
// duoscan.evaluation.policies.answered and duoscan.evaluation.proportions; their docstrings say why, and a test drives this page
// in a browser and holds its numbers against theirs.
(function () {
  const data = JSON.parse(document.getElementById("triage-data").textContent);
  const TAIL = 0.025;
  const ROUNDING = 1e-9; // α (n + 1) is often whole on paper and not in floats, and (1 − α)ⁿ may be δ
  const initial = () => ({
    prevalence: data.prevalence, alpha: data.alpha, ct_harm: data.ct_harm, treat_from: data.treat_from,
    costs: { ...(data.costs || { miss: NaN, false_positive: NaN, xray: NaN, ct: NaN }) }, looked_at: data.chosen,
  });
  let state = initial();

  // P(Bin(n, p) <= k), summed in logarithms so that no power underflows.
  function binomialTail(k, n, p) {
    if (k < 0) return 0;
    if (k >= n || p <= 0) return 1;
    if (p >= 1) return 0;
    let term = n * Math.log1p(-p), sum = Math.exp(term);
    const odds = Math.log(p) - Math.log1p(-p);
    for (let i = 0; i < k; i++) {
      term += Math.log((n - i) / (i + 1)) + odds;
      sum += Math.exp(term);
    }
    return Math.min(1, sum);
  }

  // The p at which P(Bin(n, p) <= k) falls to `level`.
  function tailRoot(k, n, level) {
    let low = 0, high = 1;
    for (let step = 0; step < 60; step++) {
      const middle = (low + high) / 2;
      if (binomialTail(k, n, middle) > level) low = middle; else high = middle;
    }
    return (low + high) / 2;
  }

  const limitsOf = new Map();
  // A share with Clopper and Pearson's limits.
  function proportion(hits, n) {
    const key = hits + "/" + n;
    if (!limitsOf.has(key)) {
      const low = hits > 0 ? tailRoot(hits - 1, n, 1 - TAIL) : 0;
      const high = hits < n ? tailRoot(hits, n, TAIL) : 1;
      limitsOf.set(key, { value: hits / n, low, high });
    }
    return limitsOf.get(key);
  }

  function needed(alpha, delta) {
    return data.method === "exact"
      ? Math.ceil((Math.log(delta) + ROUNDING / 2) / Math.log1p(-alpha)) : Math.ceil(1 / alpha - 1 - ROUNDING);
  }

  // The largest threshold that keeps the promise, or why there is none. Scores ascend; null is minus infinity.
  function certified(scores, alpha, delta) {
    const n = scores.length, least = needed(alpha, delta);
    if (n < least) {
      return { refusal: "needs " + least + " sick calibration patients; there are " + n + ", so " + (least - n) + " are missing" };
    }
    let rank = Math.floor(alpha * (n + 1) + ROUNDING);
    if (data.method === "exact") {
      rank = 0;
      while (rank <= n && binomialTail(rank, n, alpha) <= delta * (1 + ROUNDING)) rank++;
    }
    const threshold = scores[rank - 1];
    return threshold === null ? { refusal: "the CT alone misses too many for this miss rate" } : { threshold };
  }

  // What promises nothing: the miss rate kept on average, where the sick are enough even for that.
  function uncertified(alpha) {
    const scores = data.sick_xray, n = scores.length;
    return scores[n - Math.min(n, Math.ceil((1 - alpha) * (n + 1) - ROUNDING))];
  }

  // The ways out that count; left to the numbers, both where the sick are enough for that.
  function scopeOf(policy) {
    if (data.scope !== "auto") return data.scope;
    if (!data.ct_chosen_here && policy.leaving.joint.length >= needed(state.alpha, data.delta)) return "joint";
    const ofEach = Math.min(data.sick_xray.length, data.sick_ct.length);
    return ofEach >= needed(state.alpha / 2, data.delta / 2) ? "union" : "xray";
  }

  function thresholds(policy) {
    let { xray_threshold: low, xray_rule_in: ruleIn, ct_threshold: ct } = policy, refusal = "", scope = "";
    if (policy.follows_miss_rate) {
      scope = scopeOf(policy);
      const half = scope === "union" ? 2 : 1;
      const alpha = state.alpha / half, delta = data.delta / half;
      const atCt = half === 2 ? certified(data.sick_ct, alpha, delta)
        : scope === "joint" && data.ct_chosen_here ? { refusal: data.no_joint } : { threshold: ct };
      const found = atCt.refusal ? atCt : certified(policy.leaving[scope === "joint" ? "joint" : "xray"], alpha, delta);
      refusal = found.refusal || "";
      low = refusal ? uncertified(state.alpha) : Math.min(found.threshold, 1);
      if (!refusal) ct = atCt.threshold;
      if (ruleIn !== null) ruleIn = Math.max(low, ruleIn);
    }
    return { low, high: ruleIn === null ? low : ruleIn, ct, refusal, scope };
  }

  // Patients of one class: all, answered positive, sent to CT, both.
  function count(policy, at, group, sick) {
    const rule = data.rules[policy.kind], counts = { n: 0, positive: 0, sent: 0, both: 0 };
    group.sick.forEach((is, i) => {
      if (Boolean(is) !== sick) return;
      const xray = (group.xray[i] >= at.low) + (group.xray[i] >= at.high);
      const positive = rule.positive[xray][Number(group.ct[i] >= at.ct)], sent = rule.sent[xray];
      counts.n += 1; counts.positive += positive; counts.sent += sent; counts.both += positive && sent;
    });
    counts.positives = proportion(counts.positive, counts.n);
    counts.negatives = proportion(counts.n - counts.positive, counts.n);
    const always = { "ct-for-all": 1, "xray-only": 0 }[policy.kind];
    counts.to_ct = always === undefined ? proportion(counts.sent, counts.n) : { value: always, low: always, high: always };
    const spread = counts.positive * (counts.n - counts.positive) * counts.sent * (counts.n - counts.sent);
    counts.correlation = spread ? (counts.both * counts.n - counts.positive * counts.sent) / Math.sqrt(spread) : 0;
    return counts;
  }

  // A weighted sum of the four shares, with the limits of MOVER.
  function weigh(answered, weights) {
    const reach = (weight, share, upwards) =>
      weight * ((weight > 0) === upwards ? share.high - share.value : share.value - share.low);
    const { sick, well } = answered;
    // Added up in Python's order, so that the last bit and with it the last digit shown are the same.
    const value = (weights.constant || 0) + weights.sensitivity * sick.positives.value + weights.alarms * well.positives.value +
      weights.sick_to_ct * sick.to_ct.value + weights.well_to_ct * well.to_ct.value;
    let below = 0, above = 0;
    for (const [counts, ofPositive, ofSent] of [
      [sick, weights.sensitivity, weights.sick_to_ct], [well, weights.alarms, weights.well_to_ct],
    ]) {
      for (const upwards of [false, true]) {
        const a = reach(ofPositive, counts.positives, upwards), b = reach(ofSent, counts.to_ct, upwards);
        const square = Math.max(0, a * a + b * b + 2 * counts.correlation * a * b);
        if (upwards) above += square; else below += square;
      }
    }
    return { value, low: value - Math.sqrt(below), high: value + Math.sqrt(above) };
  }

  // right / (right + wrong) of two independent weighted shares, with the limits of MOVER-R.
  function predictive(right, wrong) {
    const of = ([weight, share]) => ({ value: weight * share.value, low: weight * share.low, high: weight * share.high });
    const b = of(right), a = of(wrong);
    if (a.value === 0 && b.value === 0) return { value: NaN, low: NaN, high: NaN };
    if (b.value === 0) {
      const other = predictive(wrong, right);
      return { value: 0, low: 1 - other.high, high: 1 - other.low };
    }
    const product = a.value * b.value;
    const least = a.low * (2 * a.value - a.low), most = b.low * (2 * b.value - b.low);
    const lowest = least
      ? least / (product + Math.sqrt(Math.max(0, product ** 2 - least * b.high * (2 * b.value - b.high)))) : 0;
    const highest = (product + Math.sqrt(Math.max(0, product ** 2 - a.high * (2 * a.value - a.high) * most))) / most;
    return { value: b.value / (a.value + b.value), low: 1 / (1 + highest), high: 1 / (1 + lowest) };
  }

  // As Python's: shares of all patients as proportions of all of them.
  function pooled({ sick, well }) {
    const n = sick.n + well.n, called = sick.positive + well.positive;
    const none = { value: NaN, low: NaN, high: NaN };
    const missed = proportion(sick.n - sick.positive, n);
    const always = sick.to_ct.low === sick.to_ct.high && well.to_ct.low === well.to_ct.high;
    return {
      missed, per: 1000, toCt: always ? sick.to_ct : proportion(sick.sent + well.sent, n),
      ppv: called ? proportion(sick.positive, called) : none,
      npv: called < n ? proportion(well.n - well.positive, n - called) : none,
    };
  }

  function figures(answered) {
    const { sick, well } = answered;
    const isOwn = data.prevalence_origin === "test patients" && state.prevalence === data.prevalence;
    const { missed, per, toCt, ppv, npv } = isOwn ? pooled(answered) : atPrevalence(answered);
    return {
      sensitivity: sick.positives, specificity: well.negatives, to_ct: toCt,
      missed_per_1000: { value: per * missed.value, low: per * missed.low, high: per * missed.high },
      cts_avoided_per_100: { value: 100 * (1 - toCt.value), low: 100 * (1 - toCt.high), high: 100 * (1 - toCt.low) },
      ppv, npv,
    };
  }

  function atPrevalence(answered) {
    const p = state.prevalence, q = 1 - p, { sick, well } = answered;
    const missed = sick.negatives, sum = weigh(answered, { sensitivity: 0, alarms: 0, sick_to_ct: p, well_to_ct: q });
    const toCt = { value: sum.value, low: Math.max(0, sum.low), high: Math.min(1, sum.high) };
    return {
      toCt, missed, per: 1000 * p,
      ppv: predictive([p, sick.positives], [q, well.positives]),
      npv: predictive([q, well.negatives], [p, sick.negatives]),
    };
  }

  const odds = (threshold) => threshold / (1 - threshold);
  const netBenefit = (answered, p, threshold) => weigh(answered, {
    sensitivity: p, alarms: -(1 - p) * odds(threshold), sick_to_ct: -state.ct_harm * p, well_to_ct: -state.ct_harm * (1 - p),
  });
  const treatAll = (p, threshold) => p - (1 - p) * odds(threshold);
  const cost = (answered, p, policy) => {
    const c = state.costs;
    return weigh(answered, {
      sensitivity: -p * c.miss, alarms: (1 - p) * c.false_positive, sick_to_ct: p * c.ct, well_to_ct: (1 - p) * c.ct,
      constant: p * c.miss + policy.xray_share * c.xray,
    });
  };
  const hasCosts = () => Object.values(state.costs).every((value) => value >= 0 && value < Infinity);

  const minus = (text) => text.replace("-", "\u2212");
  // Ties go to the even digit, as Python rounds them; a tie is a number of halves of the last digit in binary.
  function fixed(value, digits) {
    const halves = value * 2 ** (digits + 1), down = Math.floor(value * 10 ** digits);
    const isTie = Number.isInteger(halves) && !Number.isInteger(halves / 2);
    return isTie ? ((down + (down % 2 !== 0)) / 10 ** digits).toFixed(digits) : value.toFixed(digits);
  }
  const spoken = (value, digits) => (Number.isFinite(value) ? minus(fixed(value, digits)) : "\u2013");
  const ONE_DIGIT = ["missed_per_1000", "cts_avoided_per_100"];

  function fill(cell, estimate, digits) {
    const interval = document.createElement("span");
    interval.className = "interval";
    interval.textContent = `(${spoken(estimate.low, digits)} to ${spoken(estimate.high, digits)})`;
    cell.replaceChildren(spoken(estimate.value, digits), ...(Number.isFinite(estimate.low) ? [" ", interval] : []));
    for (const end of ["value", "low", "high"]) cell.dataset[end] = String(estimate[end]);
  }

  const find = (selector) => document.querySelector("#triage " + selector);
  const policyName = (policy, at) => policy.follows_miss_rate
    ? `${policy.kind}, ${at.refusal ? "uncertified" : at.scope === "xray" ? "X-ray exit certified" : "whole policy certified"}`
    : policy.name;

  function drawTables(all) {
    all.forEach(({ policy, at, answered }, place) => {
      const name = find(`tr[data-policy="${place}"] th span`);
      name.textContent = policyName(policy, at);
      const found = figures(answered);
      for (const [figure, estimate] of Object.entries(found)) {
        fill(find(`tr[data-policy="${place}"] [data-figure="${figure}"]`), estimate, ONE_DIGIT.includes(figure) ? 1 : 3);
      }
      const row = find(`tr[data-worth="${place}"]`);
      row.querySelector("th").textContent = policyName(policy, at);
      const threshold = row.querySelector("[data-figure=threshold]");
      threshold.textContent = spoken(at.low, 3);
      threshold.dataset.value = String(at.low);
      fill(row.querySelector("[data-figure=net_benefit]"), netBenefit(answered, state.prevalence, state.treat_from), 4);
      fill(row.querySelector("[data-figure=cost]"), hasCosts()
        ? cost(answered, state.prevalence, policy) : { value: NaN, low: NaN, high: NaN }, 3);
    });
  }

  // Chosen on the calibration patients, as the policy is; of equally cheap ones the more sensitive.
  function cheapest(all) {
    const spent = (one) => cost(one.learnt, state.prevalence, one.policy).value;
    const found = (one) => one.learnt.sick.positives.value;
    return all.filter((one) => found(one) >= data.target_sensitivity)
      .sort((a, b) => spent(a) - spent(b) || found(b) - found(a))[0];
  }

  function drawCheapest(all) {
    const said = find("#triage-cheapest"), best = hasCosts() ? cheapest(all) : undefined;
    said.hidden = !hasCosts();
    said.dataset.value = String(all.indexOf(best));
    const wish = `sensitivity of at least ${data.target_sensitivity} on the calibration ${data.units.calibration}`;
    if (!best) {
      said.textContent = `No policy has a ${wish}.`;
      return;
    }
    const [spent, sensitivity] = [document.createElement("span"), document.createElement("span")];
    fill(spent, cost(best.answered, state.prevalence, best.policy), 3);
    fill(sensitivity, best.answered.sick.positives, 3);
    said.replaceChildren(`The cheapest policy with a ${wish}: ${best.policy.kind}, at `, spent,
      ` a patient; on the test ${data.units.test} its sensitivity is `, sensitivity, ".");
  }

  function drawFlow({ policy, at, answered }) {
    const p = state.prevalence;
    const per = (of) => 1000 * (p * of(answered.sick) / answered.sick.n + (1 - p) * of(answered.well) / answered.well.n);
    const sick = (of) => 1000 * p * of(answered.sick) / answered.sick.n;
    const ways = {
      all: (c) => c.n, left: (c) => c.n - c.sent - (c.positive - c.both), settled: (c) => c.positive - c.both,
      to_ct: (c) => c.sent, ct_positive: (c) => c.both, ct_negative: (c) => c.sent - c.both,
    };
    for (const [way, of] of Object.entries(ways)) {
      const text = find(`[data-flow="${way}"]`);
      text.textContent = `${spoken(per(of), 1)} (${spoken(sick(of), 1)} sick)`;
      text.dataset.value = String(per(of));
    }
    find("#triage-flow-name").textContent = policyName(policy, at);
  }

  const SVG = "http://www.w3.org/2000/svg";
  function element(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function ticks(low, high) {
    const raw = (high - low) / 7, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw * 0.999);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
    return found.map((value) => [value, minus(String(Number(value.toPrecision(6))))]);
  }

  // Lines over xs; each series is { name, style, values: [{value, low, high}], band: boolean }.
  function drawChart(name, xs, series, xName, yName, low, label) {
    const figure = find(`[data-chart="${name}"]`);
    const width = Math.max(320, Math.min(760, figure.clientWidth)), height = width < 480 ? 260 : 340;
    const left = 62, right = 14, top = 12, bottom = 48, inner = { x: left, y: top, width: width - left - right, height: height - top - bottom };
    const tops = series.flatMap((each) => each.values.map((v) => (each.band ? v.high : v.value)));
    const high = Math.max(...tops) * 1.04 || 1;
    const floor = low === null ? -0.15 * high : low;
    const x = (v) => left + (v - xs[0]) / (xs[xs.length - 1] - xs[0]) * inner.width;
    const y = (v) => height - bottom - (v - floor) / (high - floor) * inner.height;
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "curves" });
    for (const [value, text] of ticks(floor, high)) {
      svg.append(element("line", { class: "grid-line", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
      svg.append(element("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, text));
    }
    for (const [value, text] of ticks(xs[0], xs[xs.length - 1])) {
      svg.append(element("text", { x: x(value), y: height - bottom + 20, "text-anchor": "middle" }, text));
    }
    svg.append(element("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, xName));
    svg.append(element("text", { x: 14, y: (height - bottom) / 2, "text-anchor": "middle",
      transform: `rotate(-90 14 ${(height - bottom) / 2})` }, yName));
    // Its own viewport, so that lines end where they leave it.
    const clip = element("svg", { ...inner, viewBox: `${inner.x} ${inner.y} ${inner.width} ${inner.height}` });
    svg.append(clip);
    for (const each of series.filter((one) => one.band)) {
      const points = [...xs.map((v, i) => [v, each.values[i].high]), ...xs.map((v, i) => [v, each.values[i].low]).reverse()];
      clip.append(element("polygon", { class: `band ${each.style}`, points: points.map(([a, b]) => `${x(a)},${y(b)}`).join(" ") }));
    }
    for (const each of series) {
      const points = xs.map((v, i) => `${x(v)},${y(each.values[i].value)}`).join(" ");
      clip.append(element("polyline", { class: `line ${each.style}${each.band ? " looked-at" : ""}`, points }));
    }
    figure.querySelector(":scope > svg").replaceWith(svg);
  }

  function drawCharts(all) {
    const at = all[state.looked_at], lookedAt = policyName(at.policy, at.at);
    const lines = (xs, of) => all.map((one, place) => ({
      style: "series-" + place, band: place === state.looked_at, values: xs.map((v) => of(one, v)),
    }));
    const plain = (style, xs, of) => ({ style, band: false, values: xs.map((v) => ({ value: of(v) })) });
    const p = state.prevalence, { thresholds: ts, prevalences: ps } = data;
    drawChart("decision", ts, [
      plain("series-all", ts, (t) => treatAll(p, t)), plain("series-none", ts, () => 0),
      ...lines(ts, (one, t) => netBenefit(one.answered, p, t)),
    ], "threshold probability", "net benefit", null,
    `Net benefit over threshold probability at prevalence ${spoken(p, 3)}; band of ${lookedAt}.`);
    drawChart("prevalence", ps, [
      plain("series-all", ps, (v) => treatAll(v, state.treat_from)), plain("series-none", ps, () => 0),
      ...lines(ps, (one, v) => netBenefit(one.answered, v, state.treat_from)),
    ], "prevalence", "net benefit", null,
    `Net benefit over prevalence at threshold probability ${spoken(state.treat_from, 2)}; band of ${lookedAt}.`);
    find("#triage-cost-figure").hidden = !hasCosts();
    find("#triage-no-costs").hidden = hasCosts();
    if (hasCosts()) {
      drawChart("cost", ps, lines(ps, (one, v) => cost(one.answered, v, one.policy)), "prevalence", "cost a patient", 0,
        `Expected cost of a patient over prevalence; band of ${lookedAt}.`);
    }
  }

  function drawStatus(all) {
    const refusals = [...new Set(all.map((one) => one.at.refusal).filter(Boolean))];
    find("#triage-refusal").hidden = !refusals.length;
    find("#triage-refusal").textContent = refusals.length
      ? `Not certified at a miss rate of ${spoken(state.alpha, 3)}: ${refusals.join("; ")}. The thresholds shown are expected to ` +
        "keep it on average at best, and promise nothing." : "";
    const one = all[state.looked_at], found = figures(one.answered);
    find("#triage-status").textContent = `${policyName(one.policy, one.at)} at prevalence ${spoken(state.prevalence, 3)}: ` +
      `sensitivity ${spoken(found.sensitivity.value, 3)}, specificity ${spoken(found.specificity.value, 3)}, sent to CT ` +
      `${spoken(found.to_ct.value, 3)}, X-ray threshold ${spoken(one.at.low, 3)}.`;
    const given = JSON.stringify(state) === JSON.stringify(initial());
    find("#triage-settings").textContent = given
      ? `As the command was given: prevalence ${spoken(state.prevalence, 3)}, miss rate ${spoken(state.alpha, 3)}.`
      : `Moved by you: prevalence ${spoken(state.prevalence, 3)}, miss rate ${spoken(state.alpha, 3)}, harm of a CT ` +
        `${spoken(state.ct_harm, 3)}. The stored policy is not changed by this.`;
  }

  function draw() {
    const all = data.policies.map((policy) => {
      const at = thresholds(policy);
      const of = (group) => ({ sick: count(policy, at, group, true), well: count(policy, at, group, false) });
      return { policy, at, answered: of(data.test), learnt: of(data.calibration) };
    });
    drawTables(all);
    drawFlow(all[state.looked_at]);
    drawCharts(all);
    drawCheapest(all);
    drawStatus(all);
  }

  const SLIDERS = { prevalence: 3, alpha: 3, ct_harm: 3, treat_from: 2 };
  function showControls() {
    for (const [name, digits] of Object.entries(SLIDERS)) {
      const input = find(`#triage-${name}`), text = spoken(state[name], digits);
      input.value = String(state[name]);
      input.setAttribute("aria-valuetext", text);
      find(`output[for="triage-${name}"]`).textContent = text;
    }
    for (const name of Object.keys(state.costs)) {
      find(`#triage-cost-${name}`).value = Number.isNaN(state.costs[name]) ? "" : String(state.costs[name]);
    }
    find("#triage-looked-at").value = String(state.looked_at);
  }

  const form = find("#triage-controls");
  form.addEventListener("input", (event) => {
    const { name, value } = event.target;
    if (name in SLIDERS) {
      state[name] = Number(value);
      event.target.setAttribute("aria-valuetext", spoken(state[name], SLIDERS[name]));
      find(`output[for="triage-${name}"]`).textContent = spoken(state[name], SLIDERS[name]);
    } else if (name === "looked_at") {
      state.looked_at = Number(value);
    } else {
      state.costs[name] = value === "" ? NaN : Number(value);
    }
    draw();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  find("#triage-reset").addEventListener("click", () => { state = initial(); showControls(); draw(); });
  document.querySelectorAll("#triage-controls, #triage .key").forEach((each) => { each.hidden = false; });
  showControls();
  draw();
  window.addEventListener("resize", draw);
})();
