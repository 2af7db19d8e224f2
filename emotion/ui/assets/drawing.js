// Scores over time on a canvas, as the timeline and the curve of the microphone draw them. `xs` are places from left to
// right, `score(row, k)` is that of a label at the k-th of them, from 0 to 1.

export function drawBands(pen, { top, height }, labels, xs, score) {
  const below = new Array(xs.length).fill(0);
  labels.forEach((label, row) => {
    pen.beginPath();
    xs.forEach((x, k) => pen.lineTo(x, top + height * (1 - below[k])));
    for (let k = xs.length - 1; k >= 0; k -= 1) {
      below[k] += score(row, k);
      pen.lineTo(xs[k], top + height * (1 - below[k]));
    }
    pen.closePath();
    pen.fillStyle = label.colour;
    pen.fill();
  });
}

// Where a line is at a score; half of its thickness stays free at either end.
export const lineY = ({ top, height }, score) => top + 2 + (height - 4) * (1 - score);

export function drawLines(pen, area, labels, xs, score) {
  pen.lineWidth = 2;
  pen.lineJoin = "round";
  labels.forEach((label, row) => {
    if (label.untold) return;
    pen.beginPath();
    xs.forEach((x, k) => pen.lineTo(x, lineY(area, score(row, k))));
    pen.strokeStyle = label.colour;
    pen.stroke();
  });
}
