"use strict";
// Filters, search, permalinks and covers over the data-* attributes of the dialogues; text is only ever read, never written.
(() => {
  const SEARCH_DELAY_MS = 150;
  const dialogues = Array.from(document.querySelectorAll("details.dialogue"));
  const controls = new Map(Array.from(document.querySelectorAll("[data-control]"), (c) => [c.dataset.control, c]));
  const shownCount = document.getElementById("shown-count");
  const noneShown = document.getElementById("none-shown");
  const textOf = new Map(); // filled by the first search

  const words = (dialogue) => {
    let text = textOf.get(dialogue);
    if (text === undefined) {
      const parts = Array.from(dialogue.querySelectorAll(".text"), (part) => part.textContent);
      text = [dialogue.dataset.item, ...parts].join("\n").toLowerCase();
      textOf.set(dialogue, text);
    }
    return text;
  };
  const has = (name) => (dialogue, value) => dialogue.dataset[name] === value;
  const tests = {
    kind: has("kind"),
    dimension: has("dimension"),
    sub: has("sub"),
    any: (dialogue, value) => dialogue.dataset.r1 === value || dialogue.dataset.r2 === value,
    r1: has("r1"),
    r2: has("r2"),
    cave: has("cave"),
    blocked: has("blocked"),
    text: (dialogue, value) => value.toLowerCase().split(/\s+/).every((word) => words(dialogue).includes(word)),
  };

  const valueOf = (control) => (control.type === "checkbox" ? (control.checked ? "yes" : "") : control.value.trim());
  const set = (control, value) => {
    if (control.type === "checkbox") control.checked = value === "yes";
    else control.value = value;
  };

  const offerSubs = () => {
    const dimension = controls.get("dimension").value;
    const subs = controls.get("sub");
    for (const option of subs.options) {
      const other = Boolean(dimension && option.value && option.dataset.dimension !== dimension);
      option.hidden = option.disabled = other;
      if (other && option.selected) subs.value = "";
    }
  };
  const apply = () => {
    offerSubs();
    const wanted = Array.from(controls, ([name, control]) => [name, valueOf(control)]).filter(([, value]) => value);
    let shown = 0;
    for (const dialogue of dialogues) {
      const fits = wanted.every(([name, value]) => tests[name](dialogue, value));
      dialogue.hidden = !fits;
      shown += fits;
    }
    shownCount.textContent = String(shown);
    noneShown.hidden = shown > 0;
  };
  const reset = () => {
    for (const control of controls.values()) set(control, "");
  };

  const openLinked = () => {
    let id = "";
    try {
      id = decodeURIComponent(location.hash.slice(1));
    } catch {
      return; // a mistyped link
    }
    const dialogue = id && document.getElementById(id);
    if (!dialogue || !dialogue.matches("details.dialogue")) return;
    if (dialogue.hidden) {
      reset();
      apply();
    }
    dialogue.open = true;
    // after layout: what stands above it has only an estimated height until it has been drawn
    requestAnimationFrame(() => dialogue.scrollIntoView({ block: "start" }));
    // and behind the browser's own way to the anchor, which takes the focus away, in a frame after the page has loaded
    const focus = () => dialogue.querySelector("summary").focus({ preventScroll: true });
    const later = () => requestAnimationFrame(() => requestAnimationFrame(focus));
    if (document.readyState === "complete") later();
    else addEventListener("load", later, { once: true });
  };

  let waiting = 0;
  for (const control of controls.values()) {
    if (control.type === "search") {
      control.addEventListener("input", () => {
        clearTimeout(waiting);
        waiting = setTimeout(apply, SEARCH_DELAY_MS);
      });
    } else {
      control.addEventListener("change", apply);
    }
  }
  for (const link of document.querySelectorAll("[data-filter]")) {
    link.addEventListener("click", () => {
      reset();
      for (const [name, value] of new URLSearchParams(link.dataset.filter)) set(controls.get(name), value);
      apply();
    });
  }
  const acts = {
    open: () => dialogues.forEach((dialogue) => { if (!dialogue.hidden) dialogue.open = true; }),
    close: () => dialogues.forEach((dialogue) => { dialogue.open = false; }),
    reset: () => { reset(); apply(); },
  };
  for (const button of document.querySelectorAll("[data-act]")) {
    button.addEventListener("click", acts[button.dataset.act]);
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-cover]");
    if (!button) return;
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    button.nextElementSibling.hidden = !open;
  });
  addEventListener("hashchange", openLinked);
  addEventListener("pageshow", apply); // a page that comes back may bring its old choices along
  apply();
  openLinked();
})();
