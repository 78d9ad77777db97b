// Wet ink: what mouse, finger or pen draws appears at once, here in the browser. The points travel to the kernel in
// batches; when the kernel has drawn the stroke on the paper below (dry ink), the wet stroke makes way for it.
// Pictures that are opened, pasted or dropped go to the kernel, too. The messages are described in ink_layer.py.

const SEND_INTERVAL = 50;      // milliseconds between two messages while the pen moves: 20 a second
const POINTS_PER_MESSAGE = 500;
const PATIENCE = 2000;         // milliseconds without a word of a finished stroke, after which it is sent again
const LONGEST_PATIENCE = 30000; // it doubles with every try
const STEPS_PER_CURVE = 6;     // as in `smooth_path`: wet and dry ink have the same outline
const STILL = 8;               // CSS pixels; a touch that has not moved farther may be a hand that rests
const TAKE_OVER = 16;          // CSS pixels; a touch beside one that lies still draws once it has moved so far
const PALM = 72;               // CSS pixels; no fingertip touches so large a part of the screen
const PEN_IS_NEAR = 500;       // milliseconds after the pen was last seen, in which no touch draws

const PICTURE_BYTES = 45_000;  // of a JPEG: it travels in one message, and the page's server takes 65,536 bytes
const PICTURE_SIZES = [        // longest side in pixels and quality, the first that is small enough: ink needs the pixels
  [1280, 0.8], [1280, 0.6], [1280, 0.4], [1024, 0.5], [1024, 0.35], [800, 0.5], [800, 0.35], [640, 0.4], [480, 0.3], [320, 0.3],
];

const between = (a, b, share) => ({ x: a.x + share * (b.x - a.x), y: a.y + share * (b.y - a.y) });
const rounded = value => Math.round(100 * value) / 100;

// The part of the way between two places that lies on the paper, as two shares of it; null where none does.
function spanOnPaper(from, to, width, height) {
  let enter = 0, leave = 1;
  for (const [start, stop, size] of [[from.x, to.x, width], [from.y, to.y, height]]) {
    if (start === stop) {
      if (start < 0 || start > size) return null;
      continue;
    }
    const [first, second] = [-start / (stop - start), (size - start) / (stop - start)];
    enter = Math.max(enter, Math.min(first, second));
    leave = Math.min(leave, Math.max(first, second));
  }
  return enter <= leave ? [enter, leave] : null;
}

// One stroke: its points, and the short lines of the smooth curve through them.
class Stroke {
  constructor(id) {
    this.id = id;
    this.points = [];            // x, y, x, y, ... in pixels of the paper
    this.line = [];              // likewise; without the last half of the newest piece, which still may bend
    this.sent = 0;               // points
    this.end = null;             // "lift", "tap" or "drop" once the stroke is over
    this.isEndSent = false;
    this.isFrame = false;        // around a part of a picture: such a stroke is not sent, but its ends are
    this.isCertain = true;       // false for a touch that may be a resting hand: such a stroke is not sent yet
    this.tries = 0;
    this.due = Infinity;         // when it is to be sent again
  }

  get length() { return this.points.length / 2; }

  point(index) { return { x: this.points[2 * index], y: this.points[2 * index + 1] }; }

  // Add a point; return the box around the ink that changes, null when nothing does.
  add(place, width, height) {
    const x = rounded(Math.min(Math.max(place.x, 0), width)), y = rounded(Math.min(Math.max(place.y, 0), height));
    const count = this.length;
    if (count > 0 && x === this.points[2 * count - 2] && y === this.points[2 * count - 1]) return null;
    const settled = Math.max(0, this.line.length - 2);
    this.points.push(x, y);
    if (count === 0) this.line.push(x, y);
    if (count >= 2) this.bend(this.point(count - 2), this.point(count - 1), { x, y });
    return boxAround([...this.line.slice(settled), ...this.points.slice(-4)]);
  }

  bend(before, corner, after) {
    const start = between(before, corner, 0.5), stop = between(corner, after, 0.5);
    for (let step = 0; step <= STEPS_PER_CURVE; step++) {
      const share = step / STEPS_PER_CURVE, rest = 1 - share;
      this.line.push(
        rest * rest * start.x + 2 * share * rest * corner.x + share * share * stop.x,
        rest * rest * start.y + 2 * share * rest * corner.y + share * share * stop.y,
      );
    }
  }
}

function boxAround(numbers) {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let index = 0; index < numbers.length; index += 2) {
    left = Math.min(left, numbers[index]);
    right = Math.max(right, numbers[index]);
    top = Math.min(top, numbers[index + 1]);
    bottom = Math.max(bottom, numbers[index + 1]);
  }
  return { left, top, right, bottom };
}

// Draws strokes as ipycanvas does: a dot at the beginning, then one line, so that both have the same pixels.
class Painter {
  constructor(canvas, model) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.model = model;
  }

  // Over a picture: the frame around the region to read.
  frame(stroke) {
    const { context } = this, last = stroke.point(stroke.length - 1);
    const box = [stroke.points[0], stroke.points[1], last.x - stroke.points[0], last.y - stroke.points[1]];
    context.setLineDash([16, 10]);
    for (const [width, colour] of [[9, "rgba(255, 255, 255, 0.8)"], [5, "#d9480f"]]) {
      Object.assign(context, { lineWidth: width, strokeStyle: colour });
      context.strokeRect(...box);
    }
  }

  // Paint anew what lies in a box (everything without one); of a long stroke, only the pieces near it.
  paint(strokes, box = null) {
    const { canvas, context } = this, width = this.model.get("ink_width");
    const reach = width / 2 + 2;
    const area = box || { left: 0, top: 0, right: canvas.width, bottom: canvas.height };
    const left = Math.floor(area.left - reach), top = Math.floor(area.top - reach);
    const right = Math.ceil(area.right + reach), bottom = Math.ceil(area.bottom + reach);
    context.save();
    context.beginPath();
    context.rect(left, top, right - left, bottom - top);
    context.clip();
    context.clearRect(left, top, right - left, bottom - top);
    context.lineWidth = width;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = context.fillStyle = this.model.get("ink_colour");
    const near = { left: left - reach, top: top - reach, right: right + reach, bottom: bottom + reach };
    for (const stroke of strokes) {
      if (stroke.length === 0 || stroke.end === "drop") continue;
      if (stroke.isFrame) this.frame(stroke);
      else this.draw(stroke, near, width);
    }
    context.restore();
  }

  draw(stroke, near, width) {
    const { context } = this, line = stroke.line, last = stroke.point(stroke.length - 1);
    context.beginPath();
    context.arc(line[0], line[1], width / 2, 0, 2 * Math.PI);
    context.fill();
    context.beginPath();
    let [x, y] = [line[0], line[1]], isApart = true;
    for (let index = 2; index <= line.length; index += 2) {
      const isLast = index === line.length;
      const nextX = isLast ? last.x : line[index], nextY = isLast ? last.y : line[index + 1];
      const isNear = Math.max(x, nextX) >= near.left && Math.min(x, nextX) <= near.right &&
        Math.max(y, nextY) >= near.top && Math.min(y, nextY) <= near.bottom;
      if (isNear) {
        if (isApart) context.moveTo(x, y);
        context.lineTo(nextX, nextY);
      }
      isApart = !isNear;
      [x, y] = [nextX, nextY];
    }
    context.stroke();
  }
}

// The strokes of one view that are wet: not yet on the paper as far as this view knows.
class WetInk {
  constructor(model, canvas, { onChange, onFrame }) {
    this.model = model;
    this.view = Math.random().toString(36).slice(2, 12);
    this.painter = new Painter(canvas, model);
    this.onChange = onChange;    // called with whether there is any wet ink
    this.onFrame = onFrame;      // called with a finished stroke that is a frame
    this.strokes = new Map();
    this.nextId = 0;
    this.lastSent = 0;
    this.timer = null;
  }

  begin(place, isCertain) {
    const stroke = new Stroke(this.nextId++);
    stroke.isCertain = isCertain;
    stroke.isFrame = this.model.get("frames");
    this.strokes.set(stroke.id, stroke);
    this.onChange(true);
    this.extend(stroke, place);
    return stroke;
  }

  extend(stroke, place) {
    const box = stroke.add(place, this.model.get("width"), this.model.get("height"));
    if (!box) return;
    this.painter.paint(this.strokes.values(), stroke.isFrame ? null : box);
    if (stroke.isCertain) this.sendSoon();
  }

  confirm(stroke) {
    if (!stroke || stroke.isCertain) return;
    stroke.isCertain = true;
    this.sendSoon();
  }

  end(stroke, how) {
    stroke.end = how;
    if (stroke.isFrame && how !== "drop") this.onFrame(stroke);
    if (stroke.isFrame) return this.forget([stroke]);
    if (how === "drop" && stroke.sent === 0) return this.forget([stroke]);
    this.paint();                // in one piece: painted bit by bit, some pixels of its edge are a shade off
    stroke.isCertain = true;
    this.send();
  }

  forget(strokes) {
    for (const stroke of strokes) this.strokes.delete(stroke.id);
    this.paint();
    this.onChange(this.strokes.size > 0);
  }

  paint() { this.painter.paint(this.strokes.values()); }

  // The kernel asks for points again, because an earlier message has not arrived.
  resend(id, start) {
    const stroke = this.strokes.get(id);
    if (!stroke || !(start >= 0 && start < stroke.sent)) return;
    stroke.sent = start;
    stroke.isEndSent = false;
    this.send();
  }

  sendSoon() {
    this.timer ??= setTimeout(() => this.send(), this.lastSent + SEND_INTERVAL - performance.now());
  }

  send() {
    clearTimeout(this.timer);
    this.timer = null;
    for (const stroke of this.strokes.values()) if (stroke.isCertain && !stroke.isFrame) this.sendStroke(stroke);
    this.lastSent = performance.now();
    this.tryAgainLater();
  }

  sendStroke(stroke) {
    while (stroke.sent < stroke.length || (stroke.end && !stroke.isEndSent)) {
      const start = stroke.sent, stop = Math.min(stroke.length, start + POINTS_PER_MESSAGE);
      const end = stop === stroke.length ? stroke.end : null;
      const points = stroke.points.slice(2 * start, 2 * stop);
      this.model.send({ kind: "ink", view: this.view, stroke: stroke.id, start, points, end });
      stroke.sent = stop;
      if (!end) continue;
      stroke.isEndSent = true;
      stroke.due = performance.now() + Math.min(PATIENCE * 2 ** stroke.tries++, LONGEST_PATIENCE);
    }
  }

  tryAgainLater() {
    const due = Math.min(...[...this.strokes.values()].map(stroke => (stroke.isEndSent ? stroke.due : Infinity)));
    clearTimeout(this.watch);
    if (due === Infinity) return;
    this.watch = setTimeout(() => {
      for (const stroke of this.strokes.values()) {
        if (stroke.isEndSent && stroke.due <= performance.now()) this.resend(stroke.id, 0);
      }
      this.tryAgainLater();
    }, Math.max(0, due - performance.now()) + 1);
  }

  stop() {
    this.send();
    clearTimeout(this.watch);
  }
}

// Turns pointer events into strokes. One pointer draws; a hand that rests on the paper does not keep it from that.
class Hand {
  constructor(canvas, model, ink, { onDown = () => {} } = {}) {
    this.canvas = canvas;
    this.model = model;
    this.ink = ink;
    this.onDown = onDown;
    this.pointer = null;         // the one that draws
    this.waiting = new Map();    // touches that came while the drawing one lay still: it may be the hand that rests
    this.penSeen = -Infinity;
    this.touchedLast = false;
    this.keepScroll = event => event.preventDefault();
    const listen = (name, action, options) => canvas.addEventListener(name, action.bind(this), options);
    listen("pointerdown", this.down);
    listen("pointermove", this.move);
    listen("pointerup", this.up);
    listen("pointercancel", this.cancel);
    listen("lostpointercapture", this.cancel);
    // A drag would select text and take the focus from the paper; the event itself still goes to the notebook.
    listen("mousedown", event => event.preventDefault());
    // A long touch opens no menu, and a pen's writing on a tablet is not taken for text (Apple's Scribble).
    listen("contextmenu", event => { if (this.touchedLast) event.preventDefault(); });
    listen("touchmove", event => event.preventDefault(), { passive: false });
  }

  // Look where the canvas is, which a scroll or a new layout may have changed; false when it is not to be seen.
  look() {
    this.box = this.canvas.getBoundingClientRect();
    // Where there is no room for it, the paper shows only the left part of the canvas.
    const seen = this.canvas.offsetParent?.clientWidth ?? Infinity;
    this.width = this.model.get("width") * Math.min(1, seen / this.box.width);
    return this.box.width > 0 && this.box.height > 0;
  }

  // Where an event happened, in pixels of the paper.
  place(event) {
    const { left, top, width, height } = this.box;
    return {
      x: (event.clientX - left) * this.model.get("width") / width,
      y: (event.clientY - top) * this.model.get("height") / height,
    };
  }

  down(event) {
    this.touchedLast = event.pointerType !== "mouse";
    if (event.pointerType === "pen") this.penSeen = performance.now();
    if (event.button !== 0 || (event.pointerType === "mouse" && event.ctrlKey)) return;
    if (event.pointerType === "touch" && (isPalm(event) || this.penIsNear())) return;
    this.onDown();
    const { pointerId: id, pointerType: type } = event;
    const pointer = { id, type, from: event, trail: [], moved: false, stroke: null };
    if (this.pointer) {
      if (this.pointer.type !== "touch") return;
      if (event.pointerType === "touch") {
        if (!this.pointer.moved) this.waiting.set(pointer.id, pointer);
        return;
      }
      this.discard();
    }
    this.start(pointer);
  }

  start(pointer) {
    if (!this.look()) return;
    try {
      this.canvas.setPointerCapture(pointer.id);
    } catch { /* lifted meanwhile */ }
    this.waiting.clear();
    this.pointer = pointer;
    pointer.last = this.place(pointer.from);
    pointer.stroke = this.ink.begin(pointer.last, pointer.type !== "touch");
    this.canvas.addEventListener("wheel", this.keepScroll, { passive: false });
  }

  move(event) {
    if (event.pointerType === "pen") this.penSeen = performance.now();
    const waiting = this.waiting.get(event.pointerId);
    if (waiting) {
      if (isPalm(event)) return void this.waiting.delete(event.pointerId);
      waiting.trail.push(event);
      if (!hasMoved(waiting.from, event, TAKE_OVER)) return;
      this.takeOver(waiting);
    }
    const { pointer } = this;
    if (!pointer || pointer.id !== event.pointerId) return;
    if (pointer.type !== "touch" && event.buttons % 2 === 0) return this.finish(); // released where nobody saw it
    if (pointer.type === "touch" && !pointer.moved && isPalm(event)) return this.discard();
    if (!this.look()) return;
    if (!pointer.moved && hasMoved(pointer.from, event)) {
      pointer.moved = true;
      this.waiting.clear();      // whatever else touches the paper is not what draws
    }
    const steps = event.getCoalescedEvents?.() ?? [];
    for (const step of steps.length ? steps : [event]) this.moveTo(this.place(step));
    if (pointer.moved) this.ink.confirm(pointer.stroke);
  }

  // Go on to a place: up to the edge where that is beyond it, and from the edge on where the pointer comes back.
  moveTo(place) {
    const { pointer, ink } = this;
    const span = spanOnPaper(pointer.last, place, this.width, this.model.get("height"));
    if (span && (pointer.stroke || span[0] < span[1])) {
      const [enter, leave] = span;
      pointer.stroke ??= ink.begin(between(pointer.last, place, enter), true);
      ink.extend(pointer.stroke, between(pointer.last, place, leave));
      if (leave < 1) {
        ink.end(pointer.stroke, "lift");
        pointer.stroke = null;
      }
    }
    pointer.last = place;
  }

  up(event) {
    if (event.pointerType === "pen") this.penSeen = performance.now();
    const waiting = this.waiting.get(event.pointerId);
    if (waiting) this.takeOver(waiting);
    if (this.pointer?.id !== event.pointerId) return;
    if (this.look()) this.moveTo(this.place(event));
    this.finish();
  }

  cancel(event) {
    this.waiting.delete(event.pointerId);
    if (this.pointer?.id !== event.pointerId) return;
    if (this.pointer.type === "touch" && !this.pointer.moved) this.discard();
    else this.finish();
  }

  finish() {
    const { stroke, moved } = this.pointer;
    this.release();
    if (stroke) this.ink.end(stroke, moved ? "lift" : "tap");
  }

  // The pointer was a hand that rests: what it drew goes.
  discard() {
    const { stroke } = this.pointer;
    this.release();
    if (stroke) this.ink.end(stroke, "drop");
  }

  takeOver(pointer) {
    this.discard();
    this.start(pointer);
    if (this.pointer) for (const event of pointer.trail) this.moveTo(this.place(event));
  }

  release() {
    this.pointer = null;
    this.waiting.clear();
    this.canvas.removeEventListener("wheel", this.keepScroll);
  }

  // The kernel has done with a stroke that is still being drawn: it was taken back, by a key for instance.
  let(stroke) {
    if (this.pointer?.stroke === stroke) this.release();
  }

  penIsNear() { return performance.now() - this.penSeen < PEN_IS_NEAR; }
}

const isPalm = event => event.pointerType === "touch" && Math.max(event.width, event.height) >= PALM;
const hasMoved = (from, to, way = STILL) => Math.hypot(to.clientX - from.clientX, to.clientY - from.clientY) > way;

const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));
let isShown = false;             // each layer has this script for itself

// Ask to be laid over the canvas, once that is there: while a page is being put together, answers can get lost.
async function announce(model) {
  const paper = await paperOf(model);
  while (!Object.keys(paper.views ?? {}).length) await pause(100);
  let wait = 1000;
  do {
    model.send({ kind: "ready" });
    await pause(wait);
    wait *= 2;
  } while (!isShown && wait < 100_000);
}

// The model of the canvas, which may be in the making still.
async function paperOf(model) {
  for (let tries = 0; tries < 100; tries++) {
    try {
      const paper = await model.widget_manager.get_model(model.get("paper"));
      if (paper) return paper;
    } catch { /* not yet */ }
    await pause(100);
  }
  throw new Error("the ink layer found no canvas");
}

// Wait until ipycanvas has carried out what it was sent. Its queue is known by name only; without it, some time passes,
// in which wet ink lies on the same dry ink.
async function paperIsPainted(paper) {
  try {
    const queue = paper.get("_canvas_manager").currentProcessing;
    if (typeof queue.then !== "function") throw new TypeError("no queue");
    await queue;
    await Promise.all(Object.values(paper.views));
  } catch {
    await pause(100);
  }
}

// Give the canvas the focus, for its keys. Only whoever uses keys is shown where it is: browsers would take a focus that
// a script has set for one set by keys.
function focusByPointer(canvas) {
  if (!canvas) return;
  canvas.dataset.pointed = "";
  for (const name of ["keydown", "blur"]) {
    canvas.addEventListener(name, () => { delete canvas.dataset.pointed; }, { once: true });
  }
  canvas.focus({ preventScroll: true });
}

// A picture as a JPEG that fits into one message: upright, on white, shrunk. Throws where it cannot be decoded.
async function jpegOf(file) {
  const picture = await createImageBitmap(file, { imageOrientation: "from-image" });
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  try {
    for (const [longest, quality] of PICTURE_SIZES) {
      const factor = Math.min(1, longest / Math.max(picture.width, picture.height));
      canvas.width = Math.max(1, Math.round(factor * picture.width));
      canvas.height = Math.max(1, Math.round(factor * picture.height));
      context.fillStyle = "#fff";
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.imageSmoothingQuality = "high";
      context.drawImage(picture, 0, 0, canvas.width, canvas.height);
      const jpeg = await new Promise(done => canvas.toBlob(done, "image/jpeg", quality));
      if (jpeg.size <= PICTURE_BYTES) return await jpeg.arrayBuffer();
    }
  } finally {
    picture.close();
  }
  throw new Error("the picture stays too large");
}

// Send the pictures that a person opens with the pad's button, pastes or drops on the pad. Returns what ends that.
function takePictures(model, el) {
  const input = document.createElement("input");
  Object.assign(input, { type: "file", accept: "image/*", hidden: true });
  el.append(input);
  const isOnPad = event => el.closest(".digit-pad")?.contains(event.target);
  const send = async file => {
    if (!file) return;
    try {
      model.send({ kind: "picture" }, undefined, [await jpegOf(file)]);
    } catch {
      model.send({ kind: "no picture" });
    }
  };
  // Where the pointer or the focus is, or anywhere on a page with one pad.
  const isMeant = ({ target }) => {
    const pad = el.closest(".digit-pad");
    if (!pad || target.closest?.("input, textarea, [contenteditable]")) return false;
    const isAlone = document.querySelectorAll(".digit-pad").length === 1 && target === document.body;
    return pad.contains(target) || pad.matches(":hover") || isAlone;
  };
  const actions = {
    click: event => { if (isOnPad(event) && event.target.closest(".digit-pad-open")) input.click(); },
    // The canvas keeps every key from the browser, that for pasting, too.
    keydown: event => {
      if (isOnPad(event) && (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "v") event.stopPropagation();
    },
    paste: event => {
      const file = [...(event.clipboardData?.files ?? [])].find(each => each.type.startsWith("image/"));
      if (!file || !isMeant(event)) return;
      event.preventDefault();
      send(file);
    },
    dragover: event => { if (isOnPad(event) && event.dataTransfer?.types.includes("Files")) event.preventDefault(); },
    drop: event => {
      if (!isOnPad(event) || !event.dataTransfer?.files.length) return;
      event.preventDefault();
      event.stopPropagation();
      send(event.dataTransfer.files[0]);
    },
  };
  for (const [name, action] of Object.entries(actions)) document.addEventListener(name, action, true);
  input.addEventListener("change", () => {
    send(input.files[0]);
    input.value = "";            // or the same file could not be chosen again
  });
  return () => {
    for (const [name, action] of Object.entries(actions)) document.removeEventListener(name, action, true);
  };
}

async function render({ model, el }) {
  isShown = true;
  const paper = await paperOf(model);
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: model.get("width"), height: model.get("height") });
  canvas.setAttribute("aria-hidden", "true");
  el.style.position = "static";  // without a size of its own: the canvas covers the box in which the layer lies
  Object.assign(canvas.style, {
    position: "absolute", inset: "0", width: "100%", height: "100%", touchAction: "none", cursor: "crosshair",
    willChange: "transform",     // a surface of its own, so that the paper below is not painted with every frame
  });
  const ink = new WetInk(model, canvas, {
    onChange: isWet => el.toggleAttribute("data-wet", isWet),
    onFrame: stroke => {
      const drawing = el.parentElement?.querySelector(".digit-pad-boxes svg");
      if (!drawing) return;
      const box = canvas.getBoundingClientRect(), toPicture = drawing.getScreenCTM().inverse();
      const places = [stroke.point(0), stroke.point(stroke.length - 1)].map(({ x, y }) => {
        const onScreen = new DOMPoint(box.left + x * box.width / canvas.width, box.top + y * box.height / canvas.height);
        const place = onScreen.matrixTransform(toPicture);
        return [rounded(place.x), rounded(place.y)];
      });
      model.send({ kind: "mark", places });
    },
  });
  const hand = new Hand(canvas, model, ink, {
    onDown: () => focusByPointer(el.parentElement?.querySelector(":scope > canvas")),
  });
  const receive = async message => {
    if (message.view !== ink.view) return;
    if (message.kind === "missing") return ink.resend(message.stroke, message.start);
    if (message.kind !== "dry") return;
    const strokes = message.strokes.map(id => ink.strokes.get(id)).filter(stroke => stroke);
    if (!strokes.length) return;
    for (const stroke of strokes) hand.let(stroke);
    await paperIsPainted(paper);
    ink.forget(strokes);
  };
  paper.on("msg:custom", receive);
  el.append(canvas);
  const leavePictures = takePictures(model, el);
  return () => {
    leavePictures();
    paper.off("msg:custom", receive);
    if (hand.pointer) hand.finish();
    ink.stop();
  };
}

export default {
  initialize({ model }) {
    announce(model);             // not waited for: anywidget gives up on what takes two seconds
  },
  render,
};
