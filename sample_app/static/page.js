// Keeps the page up to date: one WebSocket carries the picture, the chat and the list of machines.

const HEAD_BYTES = 6; // number (4), width, height; then one byte of brightness per pixel
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 15_000;

const body = document.body;
const find = (selector) => document.querySelector(selector);
const pageMachine = find("[data-page-machine]").dataset.pageMachine;
const canvas = find("#picture");
const lines = find("#lines");
const words = find("#words");
const pause = find("#pause");

let socket = null;
let retryMs = FIRST_RETRY_MS;
let ownName = "";
let isPaused = matchMedia("(prefers-reduced-motion: reduce)").matches;

// --- the picture -------------------------------------------------------------------------------------------

const context = canvas.getContext("2d", { willReadFrequently: true });
const colours = coloursOf(body.dataset.host);

// 256 colors from dark to light, around the creator's hue.
function coloursOf(machine) {
  let hue = 0;
  for (const letter of machine) hue = (hue * 31 + letter.codePointAt(0)) % 360;
  const gradient = context.createLinearGradient(0, 0, 256, 0);
  gradient.addColorStop(0.1, `hsl(${hue + 60} 70% 8%)`);
  gradient.addColorStop(0.4, `hsl(${hue + 25} 75% 32%)`);
  gradient.addColorStop(0.65, `hsl(${hue} 85% 60%)`);
  gradient.addColorStop(0.9, `hsl(${hue - 40} 95% 88%)`);
  const strip = new OffscreenCanvas(256, 1).getContext("2d");
  strip.fillStyle = gradient;
  strip.fillRect(0, 0, 256, 1);
  return new Uint32Array(strip.getImageData(0, 0, 256, 1).data.buffer);
}

function showFrame(buffer) {
  const head = new DataView(buffer, 0, HEAD_BYTES);
  const [number, width, height] = [head.getUint32(0), head.getUint8(4), head.getUint8(5)];
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  new Uint8Array(buffer, HEAD_BYTES).forEach((brightness, place) => { pixels[place] = colours[brightness]; });
  context.putImageData(image, 0, 0);
  find("#live").dataset.frame = number;
  find("#live").textContent = `live · frame ${number}`;
}

function watch() {
  const watches = !isPaused && !document.hidden;
  send({ type: watches ? "watch" : "unwatch" });
  pause.textContent = isPaused ? "Play" : "Pause";
  if (isPaused) find("#live").textContent = "paused";
}

pause.addEventListener("click", () => { isPaused = !isPaused; watch(); });
document.addEventListener("visibilitychange", watch);

// --- messages from the machine -----------------------------------------------------------------------------

const handlers = {
  hello(message) {
    retryMs = FIRST_RETRY_MS;
    ownName = message.you;
    lines.replaceChildren();
    const where = find("[data-socket-machine]");
    where.dataset.socketMachine = where.textContent = message.machine;
    body.classList.toggle("is-split", message.machine !== pageMachine);
    setOnline(message.machine === pageMachine ? "Connected." : "Connected to a different machine than the one that served the page.");
    handlers.machines(message);
    watch();
  },

  chat(message) {
    const line = document.createElement("li");
    const name = document.createElement("b");
    line.classList.toggle("mine", message.from === ownName);
    name.textContent = message.from === ownName ? "You" : message.from;
    line.append(name, message.text);
    lines.append(line);
    lines.scrollTop = lines.scrollHeight;
  },

  machines(message) {
    const nav = find("nav");
    const focused = document.activeElement?.dataset?.machine;
    nav.replaceChildren(...message.machines.map(tab));
    if (focused) nav.querySelector(`[data-machine="${CSS.escape(focused)}"]`)?.focus();
  },

  error(message) {
    find("#status").textContent = message.text;
  },
};

// The same markup as in `page.py`.
function tab({ machine, creator, city }) {
  const link = document.createElement("a");
  link.href = `/?${body.dataset.parameter}=${encodeURIComponent(machine)}`;
  link.dataset.machine = machine;
  if (machine === body.dataset.host) link.setAttribute("aria-current", "page");
  link.append(element("strong", creator), element("small", city));
  if (machine === pageMachine) link.append(Object.assign(element("span", "here"), { className: "here" }));
  return link;
}

function element(name, text) {
  return Object.assign(document.createElement(name), { textContent: text });
}

// --- messages from the viewer ------------------------------------------------------------------------------

find("#say").addEventListener("submit", (event) => {
  event.preventDefault();
  if (words.value.trim() && send({ type: "chat", text: words.value })) words.value = "";
});

function send(message) {
  if (socket?.readyState !== WebSocket.OPEN) return false;
  socket.send(JSON.stringify(message));
  return true;
}

// --- the socket --------------------------------------------------------------------------------------------

function setOnline(text) {
  body.classList.remove("is-offline");
  find("#status").textContent = text;
  words.placeholder = `Write as ${ownName}`;
  for (const control of [words, pause, find("#say button")]) control.disabled = false;
}

function setOffline() {
  const where = find("[data-socket-machine]");
  where.dataset.socketMachine = "";
  where.textContent = "no machine";
  body.classList.remove("is-split");
  body.classList.add("is-offline");
  find("#live").textContent = "offline";
  words.placeholder = "Connecting…";
  for (const control of [words, pause, find("#say button")]) control.disabled = true;
}

function connect() {
  const address = new URL("/ws", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  if (body.dataset.parameter === "creator") address.searchParams.set("creator", body.dataset.host);
  socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("message", ({ data }) => {
    if (data instanceof ArrayBuffer) return showFrame(data);
    const message = JSON.parse(data);
    handlers[message.type]?.(message);
  });
  socket.addEventListener("close", () => {
    setOffline();
    const pauseMs = retryMs * (0.75 + Math.random() / 2); // Jitter, so that the viewers of a lost machine do not reconnect all at once.
    retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
    find("#status").textContent = `Not connected. Retrying in ${Math.max(1, Math.round(pauseMs / 1000))} s.`;
    setTimeout(connect, pauseMs);
  });
}

connect();
