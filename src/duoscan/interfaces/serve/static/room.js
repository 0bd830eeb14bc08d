// Live updates, keyboard and theme. No inline code anywhere: the content security policy forbids it.
"use strict";

const csrf = document.querySelector('meta[name="csrf"]').content;

function say(text) {
  const place = document.getElementById("said");
  place.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { place.textContent = ""; }, 5000);
}

function keep(preferences) {
  return fetch("/account/preferences", {
    method: "POST", body: JSON.stringify(preferences),
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
  });
}

// Live: the server says that something changed; the page asks for what it shows.
if (document.body.dataset.page) {
  const stream = new EventSource("/events");
  // What comes while one refresh is due is shown by it; what comes later makes another due. So the last change is never lost.
  let due = null;
  const refresh = () => {
    const typing = document.activeElement && document.activeElement.matches("#panel textarea");
    due = typing ? setTimeout(refresh, 1000) : null;
    if (!typing) htmx.trigger(document.body, "changed");
  };
  stream.onmessage = () => { due ??= setTimeout(refresh, 300); };
  addEventListener("pagehide", () => stream.close());
}

// A reader who has a case open stays at it; who was away too long learns who is at it by now.
if (document.body.dataset.case && document.getElementById("sign")) {
  setInterval(async () => {
    const answer = await fetch(`/cases/${document.body.dataset.case}/claim`, { method: "POST", headers: { "X-CSRF-Token": csrf } });
    if (answer.status === 409) htmx.trigger(document.body, "changed");
  }, 240000);
}

document.body.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status === 401) location.assign("/sign-in");
  else say("The server refused this; load the page again.");
});

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  keep({ theme: root.dataset.theme });
});

// Keyboard: action → [key, words, what is done].
const press = (selector) => () => {
  const found = document.querySelector(selector);
  if (found && !found.disabled) found.click();
};
const inPane = (name) => () => {
  const pane = document.querySelector(".pane:focus-within") || document.querySelector(".pane.active") || document.querySelector(".pane .stage")?.closest(".pane");
  pane?.dispatchEvent(new CustomEvent("hotkey", { detail: name }));
};
const row = (step) => () => {
  const rows = [...document.querySelectorAll("table.cases tbody tr[id]")];
  if (!rows.length) return;
  const now = rows.findIndex((one) => one.id === row.here);
  const next = rows[Math.min(rows.length - 1, Math.max(0, now + step))];
  row.here = next.id;
  mark();
  next.querySelector("a").focus();
};
function mark() {
  for (const one of document.querySelectorAll("tr.here")) one.classList.remove("here");
  if (row.here) document.getElementById(row.here)?.classList.add("here");
}
document.body.addEventListener("htmx:afterSwap", mark);

const isList = document.body.dataset.page === "list";
const ACTIONS = {
  next: ["n", "Next case", isList ? press('a[href="/next"]') : press("#next")],
  down: ["j", isList ? "Row below" : "Next slice", isList ? row(1) : inPane("down")],
  up: ["k", isList ? "Row above" : "Slice before", isList ? row(-1) : inPane("up")],
  claim: ["l", "Back to the worklist", press('nav a[href="/"]')],
  request: ["t", "Ask for CT", press("#ask")],
  agree: ["a", "Agree", press("#agree")],
  disagree: ["d", "Disagree", press("#disagree")],
  cannot: ["u", "Cannot say", press("#cannot")],
  invert: ["i", "Invert", inPane("invert")],
  heat: ["h", "Heatmap", inPane("heat")],
  cine: ["c", "Cine", inPane("cine")],
  reset: ["r", "Reset the view", inPane("reset")],
};
const keys = Object.fromEntries(Object.entries(ACTIONS).map(([name, [key]]) => [name, key]));
Object.assign(keys, JSON.parse(document.querySelector('meta[name="keys"]').content));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.target.closest("input:not([type=range]), textarea, select, dialog")) return;
  if (event.key === "?") { showKeys(); event.preventDefault(); return; }
  const name = Object.keys(ACTIONS).find((one) => keys[one] === event.key);
  if (name) { ACTIONS[name][2](); event.preventDefault(); }
});

const dialog = document.getElementById("keys");
function showKeys() {
  const list = document.getElementById("keys-list");
  list.replaceChildren(...Object.entries(ACTIONS).map(([name, [, words]]) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.value = keys[name];
    input.readOnly = true;
    input.setAttribute("aria-label", `${words}, press another key`);
    input.addEventListener("keydown", (event) => {
      if (["Tab", "Escape", "Shift", "Enter", "?"].includes(event.key) || event.key.length > 12) return;
      event.preventDefault();
      keys[name] = input.value = event.key;
      keep({ keys });
    });
    label.append(words, input);
    return label;
  }));
  dialog.showModal();
}
document.getElementById("help").addEventListener("click", showKeys);
