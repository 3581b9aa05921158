// The labelling page. Model text only ever goes through textContent. A label is kept on this machine until the
// server has confirmed it, so that a reload or a lost connection costs nothing.
"use strict";

const AHEAD = 8; // tasks kept on this machine before more are fetched

const $ = (id) => document.getElementById(id);
const placeOf = (task, seq) => `${task}/${seq}`; // an answer, as a key
const token = location.hash.slice(1) || sessionStorage.getItem("scsafety-token") || "";
if (token) {
  sessionStorage.setItem("scsafety-token", token);
  history.replaceState(null, "", location.pathname); // not left in the address bar
}

let me = null; // {annotator, run, rubric}
let key = ""; // of what this machine keeps
let tasks = []; // fetched ahead
let current = null;
let focus = 0; // which answer is being labelled
let waiting = []; // labels that the server has not confirmed
let done = []; // task and answer of each label of this sitting, for undo
let skipped = [];
let note = "";
let sending = null; // the promise of what is on its way
const given = new Map(); // every label of this sitting: a batch that the server made before it knew them is out of date
let starved = false; // nothing to show until the connection is back
let refused = false; // the token is wrong: nothing will help but the right link

async function call(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" } });
  if (!response.ok) {
    const error = new Error(await response.text());
    error.status = response.status;
    throw error;
  }
  return response.json();
}

function keep() {
  localStorage.setItem(key, JSON.stringify(waiting));
}

function showProblem(text) {
  $("problem").hidden = !text;
  $("problem").textContent = text;
}

function showSync(offline = false) {
  $("sync").textContent = waiting.length ? `${offline ? "离线，" : ""}${waiting.length} 个标注待保存` : "已全部保存";
  $("sync").className = waiting.length ? "waiting" : "";
}

function showProgress(progress) {
  const { finished, needed, mine, agreement, answers } = progress;
  $("bar").setAttribute("aria-valuemax", needed);
  $("bar").setAttribute("aria-valuenow", finished);
  $("bar").firstElementChild.style.width = `${needed ? (100 * finished) / needed : 0}%`;
  const parts = [`总进度 ${finished}/${needed}`, `我 ${mine} 题`];
  if (agreement.n) {
    const figure = (value) => (value === null ? "-" : value.toFixed(2));
    parts.push(`${agreement.n} 个回答有两人标注：kappa ${figure(agreement.qwk)}，alpha ${figure(agreement.alpha)}`);
  }
  $("counts").textContent = parts.join(" · ");
  $("counts").dataset.answers = JSON.stringify(answers);
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function render() {
  $("task").hidden = !current;
  $("finished").hidden = Boolean(current) || refused || starved;
  if (starved) showProblem("连接断开，手上的题已标完；恢复后自动继续。已标的都存在本机。");
  if (!current) return;
  $("sub").textContent = current.sub_dimension;
  $("pair").textContent = current.id;
  $("system-box").hidden = !current.system;
  $("system").textContent = current.system || "";
  $("risk").textContent = current.risk_point;
  $("good").textContent = current.good_answer;
  $("answers").replaceChildren(
    ...current.answers.map((answer, k) => {
      const box = element("section", k === focus ? "answer now" : "answer", "");
      box.setAttribute("aria-current", k === focus ? "step" : "false");
      const head = element("h2", "", `第 ${answer.round} 轮`);
      if (answer.mine !== null) head.append(element("b", `score-${answer.mine}`, `${answer.mine} 分`));
      const blocked = answer.blocked ? "（平台审核拦截）" : answer.answer.trim() ? "" : "（空回答）";
      box.append(head, element("p", "question", answer.question), element("p", "reply", answer.answer + blocked));
      return box;
    }),
  );
  $("answers").children[focus].scrollIntoView({ block: "nearest" });
}

function begin(task, at = null) {
  current = task;
  const open = task ? task.answers.findIndex((answer) => answer.mine === null) : -1;
  focus = at !== null ? at : Math.max(open, 0);
  setNote("");
  render();
}

function setNote(text) {
  note = text;
  $("note").value = text;
  $("note-box").hidden = true;
}

// What was labelled here holds over what the server knew when it sent the task.
function overlay(task) {
  for (const answer of task.answers) {
    const place = placeOf(task.id, answer.seq);
    if (given.has(place)) answer.mine = given.get(place);
  }
  return task;
}

async function fetchAhead() {
  const found = await call(`api/batch?skipped=${encodeURIComponent(skipped.join(","))}`);
  showProgress(found.progress);
  const complete = (task) => task.answers.every((answer) => answer.mine !== null);
  showProblem("");
  tasks = found.tasks.map(overlay).filter((task) => !complete(task) && (!current || task.id !== current.id));
}

async function next() {
  starved = false;
  if (!tasks.length) {
    try {
      current = null; // a key pressed while this waits must not label the last task again
      await send();
      await fetchAhead();
    } catch (error) {
      starved = true;
      onError(error);
    }
  }
  begin(tasks.shift() || null);
  if (current && tasks.length < AHEAD && navigator.onLine) send().then(fetchAhead).catch(onError);
}

// One at a time; whoever asks meanwhile waits for the same end: what is fetched next must know every label.
function send() {
  sending ??= sendAll().finally(() => { sending = null; });
  return sending;
}

async function sendAll() {
  while (waiting.length) {
    const part = waiting.slice(0, 200);
    const found = await call("api/labels", { method: "POST", body: JSON.stringify({ labels: part }) });
    waiting = waiting.slice(part.length);
    keep();
    showProgress(found.progress);
    showSync();
    showProblem("");
  }
}

function onError(error) {
  refused = error.status === 401;
  showSync(!error.status);
  if (error.status) showProblem(error.message);
  if (refused) render();
}

function push(task, answer, score) {
  const last = waiting.length ? waiting[waiting.length - 1].at : 0;
  waiting.push({ task: task.id, seq: answer.seq, score, at: Math.max(Date.now(), last + 1), note });
  given.set(placeOf(task.id, answer.seq), score);
  answer.mine = score;
  keep();
  showSync(!navigator.onLine);
  send().catch(onError);
}

async function score(value) {
  if (!current) return;
  const answer = current.answers[focus];
  done.push({ task: current, at: focus });
  push(current, answer, value);
  setNote("");
  const open = current.answers.findIndex((one) => one.mine === null);
  if (open >= 0) begin(current, open);
  else await next();
}

function undo() {
  const last = done.pop();
  if (!last) return;
  if (current && current.id !== last.task.id) tasks.unshift(current);
  push(last.task, last.task.answers[last.at], null);
  begin(last.task, last.at);
}

async function skip() {
  if (!current) return;
  skipped = skipped.filter((id) => id !== current.id).concat(current.id);
  await next();
}

const act = { note: () => { $("note-box").hidden = false; $("note").focus(); }, undo, skip };

$("keys").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.score) score(Number(button.dataset.score));
  else act[button.dataset.do]();
});

$("note").addEventListener("keydown", (event) => {
  event.stopPropagation();
  if (event.key === "Enter" || event.key === "Escape") {
    note = $("note").value;
    $("note-box").hidden = true;
    $("note").blur(); // a hidden field keeps the keys until the page is drawn again: the next label would be lost in it
  }
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if ("012".includes(event.key)) score(Number(event.key));
  else if (event.key === "n" || event.key === "N") { event.preventDefault(); act.note(); }
  else if (event.key === "u" || event.key === "U") undo();
  else if (event.key === "s" || event.key === "S") skip();
});

window.addEventListener("online", () => send().then(() => (current ? null : next())).catch(onError));
setInterval(() => send().catch(onError), 3000);

async function start() {
  try {
    me = await call("api/begin");
  } catch (error) {
    onError(error);
    return;
  }
  key = `scsafety ${me.run} ${me.annotator}`;
  waiting = JSON.parse(localStorage.getItem(key) || "[]");
  for (const label of waiting) given.set(placeOf(label.task, label.seq), label.score);
  $("run").textContent = me.run;
  $("who").textContent = me.annotator;
  $("rubric").textContent = me.rubric;
  showSync();
  await next();
}

start();
