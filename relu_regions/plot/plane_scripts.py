"""What an interactive picture of a plane computes in the browser, as JavaScript."""

__all__ = ["LOGITS", "PATH"]

# The logits under the cursor. value: the face; axes: (s, t) to the picture; forms: constant, slopes by s and t.
LOGITS = """
const [[a, ], [b, c]] = axes;
const t = special_vars.y / c, s = (special_vars.x - b * t) / a;
const logits = [];
for (let k = 0; k < names.length; k++) {
    const at = 3 * (value * names.length + k);
    logits.push([forms[at] + forms[at + 1] * s + forms[at + 2] * t, k]);
}
const largest = logits.slice().sort((p, q) => q[0] - p[0] || p[1] - q[1]).slice(0, 10);
return largest.map(([number, k]) => `${names[k]}: ${number.toPrecision(4)}`).join(", ");
"""

# The path along the segment between the last two points drawn: which faces it crosses, as planes.segment.crossed does,
# the logits at each breakpoint, and which class wins where. Arrays: vertices, offsets and corners of faces, and forms.
PATH = """
const [[a, ], [b, c]] = axes;
const xs = ends.data.x, ys = ends.data.y, outputs = names.length;
if (xs.length < 2) return;
const at = (k) => { const t = ys[k] / c; return [(xs[k] - b * t) / a, t]; };
const start = at(xs.length - 2), end = at(xs.length - 1);
const way = [end[0] - start[0], end[1] - start[1]];
const met = [];
for (let face = 0; face + 1 < offsets.length; face++) {
    let low = 0, high = 1;
    for (let k = offsets[face]; k < offsets[face + 1] && low < high; k++) {
        const one = corners[k], other = corners[k + 1 < offsets[face + 1] ? k + 1 : offsets[face]];
        const p = 2 * Math.min(one, other), q = 2 * Math.max(one, other), turned = one < other ? 1 : -1;
        const along = [vertices[q] - vertices[p], vertices[q + 1] - vertices[p + 1]];
        const height = turned * (along[0] * (start[1] - vertices[p + 1]) - along[1] * (start[0] - vertices[p]));
        const slope = turned * (along[0] * way[1] - along[1] * way[0]);
        if (slope > 0) low = Math.max(low, -height / slope);
        else if (slope < 0) high = Math.min(high, -height / slope);
        else if (height < 0) low = Infinity;
    }
    if (low < high) met.push([low, high, face]);
}
met.sort((p, q) => p[0] - q[0] || q[1] - p[1]);
const crossed = [];
for (const [low, high, face] of met) {
    const last = crossed[crossed.length - 1];
    if (!last || (low + high) / 2 >= last[1]) {
        if (last) last[1] = low;
        crossed.push([low, high, face]);
    }
}
const logit = (face, k, t) => {
    const at = 3 * (face * outputs + k);
    return forms[at] + forms[at + 1] * (start[0] + t * way[0]) + forms[at + 2] * (start[1] + t * way[1]);
};
const ts = crossed.map((part) => part[0]), faces = crossed.map((part) => part[2]);
if (faces.length) { ts.push(crossed[faces.length - 1][1]); }
const lines = names.map((_, k) => ts.map((t, i) => logit(faces[Math.min(i, faces.length - 1)], k, t)));
path.data = {x: names.map(() => ts), y: lines, colour: path.data.colour, name: path.data.name};
bends.data = {x: ts.slice(1, -1).flatMap((t) => names.map(() => t)),
              y: ts.slice(1, -1).flatMap((_, i) => names.map((_, k) => lines[k][i + 1])),
              colour: ts.slice(1, -1).flatMap(() => path.data.colour.slice(0, outputs))};
// Where each class wins. A single logit competes with 0, as class 1.
const competing = outputs === 1 ? 2 : outputs;
const won = [];
for (let i = 0; i < faces.length && classes; i++) {
    const value = (k, t) => outputs > 1 ? logit(faces[i], k, t) : k * logit(faces[i], 0, t);
    const growth = (k) => value(k, ts[i + 1]) - value(k, ts[i]);
    let t = ts[i], winner = 0;
    for (let k = 1; k < competing; k++) {
        const ahead = value(k, t) - value(winner, t);
        if (ahead > 0 || (ahead === 0 && growth(k) > growth(winner))) winner = k;
    }
    while (t < ts[i + 1]) {
        let until = ts[i + 1], next = -1;
        for (let k = 0; k < competing; k++) {
            if (!(growth(k) > growth(winner))) continue;
            const ahead = value(winner, t) - value(k, t);
            const left = value(winner, ts[i + 1]) - value(k, ts[i + 1]);
            const crossing = Math.max(t, t + (ts[i + 1] - t) * ahead / (ahead - left));
            if (crossing < until) { until = crossing; next = k; }
        }
        const last = won[won.length - 1];
        if (last && last[2] === winner) last[1] = until; else won.push([t, until, winner]);
        if (next < 0) break;
        winner = next;
        t = until;
    }
}
strip.data = {left: won.map((part) => part[0]), right: won.map((part) => part[1]),
              label: won.map((part) => part[2]), colour: won.map((part) => palette[part[2]]),
              name: won.map((part) => class_names[part[2]])};
const length = Math.hypot(xs[xs.length - 1] - xs[xs.length - 2], ys[ys.length - 1] - ys[ys.length - 2]);
const times = ["stays in " + (won.length ? class_names[won[0][2]] : ""), "changes its class once"][won.length - 1] ||
    `changes its class ${won.length - 1} times`;
said.text = faces.length === 0 ? "The segment lies outside of the plane's polygon." :
    `The segment, ${length.toPrecision(4)} long, crosses ${faces.length} region${faces.length > 1 ? "s" : ""}` +
    (classes ? ` and ${times.replace(/&/g, "&amp;").replace(/</g, "&lt;")}.` : ".");
crossing.data = {face: faces, t: ts.slice(0, -1)};
"""
