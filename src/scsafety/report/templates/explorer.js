"use strict";
// The explorer: an index in columns, filters over it, and texts from shards that are loaded when they are needed.
// What a record says goes into text nodes and nowhere else.
(() => {
  const PAGE = 50;
  const KEPT = 60; // shards; beyond them the longest unused is forgotten
  const SEARCH_DELAY_MS = 250;
  const SIDES = ["input", "output", "unknown"]; // flags 4, 8 and 16
  const COVERS = { question: [1, "遮住的提问", "covered question"], reasoning: [2, "遮住的思考", "covered reasoning"], answer: [4, "遮住的回答", "covered answer"] };
  const of = (id) => document.getElementById(id);
  const controls = new Map(Array.from(document.querySelectorAll("[data-control]"), (c) => [c.dataset.control, c]));
  const list = of("list");
  const pager = document.querySelector(".pager");
  const leftOut = "leftOut" in of("dialogues").dataset;
  const epochs = "epochs" in of("dialogues").dataset;

  // Data: a script hands over what it holds

  const received = new Map();
  window.scsafetyReceive = (name, data) => received.set(name, data);
  const asked = new Map();
  const load = (name) => {
    let loading = asked.get(name);
    asked.delete(name);
    loading ??= new Promise((done, failed) => {
      const script = document.createElement("script");
      const ended = () => {
        script.remove();
        if (received.has(name)) return done(received.get(name));
        asked.delete(name);
        return failed(new Error(`shards/${name}.js`));
      };
      received.delete(name);
      script.onload = script.onerror = ended;
      script.src = `shards/${name}.js`;
      document.head.append(script);
    });
    asked.set(name, loading); // the last asked for stands last
    for (const oldest of asked.keys()) {
      if (asked.size <= KEPT) break;
      asked.delete(oldest);
      received.delete(oldest);
    }
    return loading;
  };

  // Elements

  const el = (tag, className, ...children) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children.flat()); // a string becomes a text node
    return made;
  };
  const t = (zh, en) => {
    const [first, second] = [el("span", "zh", zh), el("span", "en", en)];
    [first.lang, second.lang] = ["zh-CN", "en"];
    return [first, second];
  };
  const titled = (made, title) => Object.assign(made, { title });

  load("index").then((index) => {
    const { items, names } = index;
    const n = index.item.length;
    const subs = Object.keys(names.subs);
    const anchorOf = (k) => {
      const [epoch, attempt] = [index.epoch[k], index.attempt[k]];
      return items.id[index.item[k]] + (epoch > 1 ? `-e${epoch}` : "") + (attempt > 1 ? `-a${attempt}` : "");
    };
    const resultOf = (k, round) => names.codes[(index.rounds[round - 1] ?? [])[k]];
    const shardOf = (k) => {
      let [low, high] = [0, index.starts.length];
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (index.starts[middle] <= k) low = middle;
        else high = middle;
      }
      return low;
    };
    const nameOf = (shard) => String(shard + 1).padStart(2, "0");
    const toldOf = async (k) => {
      const shard = shardOf(k);
      const told = (await load(nameOf(shard)))[k - index.starts[shard]];
      if (!told || told.id !== anchorOf(k)) throw new Error(`shards/${nameOf(shard)}.js`);
      return told;
    };

    // One dialogue

    const rounds = (k) => [["第一轮", "round 1"], ["第二轮", "round 2"]][k - 1] ?? [`第 ${k} 轮`, `round ${k}`];
    const chip = (result, prefix) => {
      const made = el("span", `chip r-${result}`);
      if (prefix) made.append(el("span", "chip-round", ...t(...prefix)));
      made.append(...t(...names.results[result]));
      return made;
    };
    const flag = (zh, en) => el("span", "chip flag", ...t(zh, en));
    const told = (turn, name, where) => {
      const [bit, zh, en] = COVERS[name];
      const text = el("div", "text", turn[name]);
      if (!(turn.cover & bit)) return text;
      if (leftOut) return el("p", "left-out dim", turn[name]);
      const button = el("button", "", el("span", "unseen", ...where, " "), ...t(zh, en), "（", ...t(`${Array.from(turn[name]).length} 字`, `${Array.from(turn[name]).length} characters`), "）");
      button.type = "button";
      button.dataset.cover = "";
      button.setAttribute("aria-expanded", "false");
      text.hidden = true;
      return el("div", "cover", button, text);
    };
    const fold = (className, title, ...children) => el("details", `fold ${className}`.trim(), el("summary", "", ...title), ...children);
    const turnOf = (turn, dialogue, twin) => {
      const where = [dialogue.id, " ", ...t(...rounds(turn.round))];
      const asking = el("p", "who", ...t("提问", "user"));
      if (turn.sent === false) asking.append(" · ", ...t("未发送", "not sent"));
      const made = el("section", "turn",
        el("h4", "", ...(twin ? t("无害题", "harmless twin") : t(...rounds(turn.round)))),
        el("div", "said asked", asking, told(turn, "question", where)));
      if (turn.answer === undefined) {
        const missing = el("div", "said missing", el("p", "who", ...t("未答", "unanswered")));
        if (turn.error) missing.append(el("div", "text", turn.error));
        made.append(missing);
        return made;
      }
      const who = el("p", "who", ...t("回答", "target"));
      if (turn.blocked) who.append(" ", flag(...names.sides[turn.blocked]));
      if (turn.cut) who.append(" ", flag("截断于长度上限", "cut at the token limit"));
      if (turn.finish_reason) who.append(" ", el("span", "mono dim", turn.finish_reason));
      const answered = el("div", "said answered", who);
      if (turn.reasoning) answered.append(fold("", t("思考过程", "reasoning"), told(turn, "reasoning", where)));
      answered.append(turn.answer.trim() ? told(turn, "answer", where) : el("p", "empty dim", ...t("（空回答）", "(empty answer)")));
      const found = el("p", "who", chip(turn.result));
      if (turn.confidence !== undefined) found.append(" ", el("span", "dim", ...t("把握", "confidence"), ` ${turn.confidence.toFixed(2)}`));
      const verdict = el("div", `verdict v-${turn.result}`, found);
      if (turn.reason) verdict.append(el("div", "text", turn.reason));
      if (turn.others) {
        const others = el("p", "others dim", ...t("其他裁判", "other judges"));
        for (const [judge, result] of turn.others) others.append(" · ", el("span", "mono", judge), chip(result));
        verdict.append(others);
      }
      made.append(answered, verdict);
      return made;
    };
    const bodyOf = (k, dialogue) => {
      const item = index.item[k];
      const twin = Boolean(items.twin[item]);
      const body = el("div", "body");
      if (dialogue.system) body.append(fold("", t("系统提示词", "system message"), el("div", "text said", dialogue.system)));
      body.append(...dialogue.turns.map((turn) => turnOf(turn, dialogue, twin)));
      if (twin) {
        body.append(fold("rubric", t("为何无害", "why it is harmless"), el("div", "text", dialogue.why_harmless || "—")));
      } else {
        body.append(fold("rubric", t("评分要点", "what earns 0 and 2"), el("dl", "",
          el("dt", "", ...t("风险点（0 分）", "risk point (0)")), el("dd", "text", dialogue.risk_point || "—"),
          el("dt", "", ...t("好的回答（2 分）", "good answer (2)")), el("dd", "text", dialogue.good_answer || "—"))));
      }
      const link = el("a", "", ...t("本条链接", "permalink"));
      link.href = `#${encodeURIComponent(dialogue.id)}`;
      const meta = el("p", "meta dim");
      const [form, tactic] = [names.forms[items.form[item]], names.tactics[items.tactic[item]]];
      if (form) meta.append(...t("形式", "form"), " ", ...t(form[1], form[2]), " · ");
      if (tactic) meta.append(...t("追问", "tactic"), " ", ...t(tactic[1], tactic[2]), " · ");
      if (items.severity[item]) meta.append(...t("严重度", "severity"), ` ${items.severity[item]} / 3 · `);
      meta.append(link);
      body.append(meta);
      return body;
    };
    const fill = async (made, k) => {
      if (made.dataset.filled) return;
      made.dataset.filled = "yes";
      made.querySelector(":scope > .caution")?.remove();
      const waiting = el("p", "loading", ...t("读取中…", "loading…"));
      made.append(waiting);
      try {
        waiting.replaceWith(bodyOf(k, await toldOf(k)));
      } catch (error) {
        delete made.dataset.filled;
        waiting.replaceWith(el("p", "caution loading", ...t("读不到，请重新生成报告：", "cannot be read, write the report anew: "), error.message));
      }
    };
    const rowOf = (k) => {
      const item = index.item[k];
      const twin = Boolean(items.twin[item]);
      const [zh, en] = names.subs[subs[items.sub[item]]];
      const where = el("span", "where", ...t(zh, en));
      if (twin) where.append(" · ", ...t("无害题", "harmless twin"));
      const id = el("span", "mono dim", items.id[item]);
      if (epochs || index.epoch[k] > 1) id.append(" · ", ...t(`第 ${index.epoch[k]} 遍`, `epoch ${index.epoch[k]}`));
      if (index.attempt[k] > 1) id.append(" · ", ...t(`第 ${index.attempt[k]} 次`, `attempt ${index.attempt[k]}`));
      const chips = el("span", "chips");
      for (let round = 1; round <= index.rounds.length; round += 1) {
        const result = resultOf(k, round);
        if (result) chips.append(chip(result, twin ? null : rounds(round)));
      }
      if (index.flags[k] & 1) chips.append(titled(flag("失守", "cave"), "safe in round 1, a risk in round 2"));
      if (index.flags[k] & 2) chips.append(flag("评分不一", "judges differ"));
      SIDES.forEach((side, bit) => { if (index.flags[k] & (4 << bit)) chips.append(flag(...names.sides[side])); });
      const start = items.start[item];
      const excerpt = el("span", "excerpt", ...(start === null ? t("（提问已遮住）", "(question covered)") : [start]));
      const made = el("details", "dialogue", el("summary", "", el("span", "line", where, id, chips), excerpt));
      made.dataset.row = String(k);
      made.dataset.id = anchorOf(k);
      made.addEventListener("toggle", () => { if (made.open) fill(made, k); });
      return made;
    };

    // Filters

    const has = (column, values) => (k, value) => values[items[column][index.item[k]]] === value;
    const tests = {
      kind: has("twin", ["pair", "benign"]),
      dimension: has("sub", subs.map((sub) => names.subs[sub][2])),
      sub: has("sub", subs),
      any: (k, value) => index.rounds.some((_, round) => resultOf(k, round + 1) === value),
      r1: (k, value) => resultOf(k, 1) === value,
      r2: (k, value) => resultOf(k, 2) === value,
      tactic: has("tactic", names.tactics.map(([name]) => name)),
      cave: (k) => Boolean(index.flags[k] & 1),
      split: (k) => Boolean(index.flags[k] & 2),
      blocked: (k) => Boolean(index.flags[k] & 28),
    };
    const valueOf = (control) => (control.type === "checkbox" ? (control.checked ? "yes" : "") : control.value.trim());
    const set = (control, value) => {
      if (control.type === "checkbox") control.checked = value === "yes";
      else control.value = value;
    };
    const reset = () => { for (const control of controls.values()) set(control, ""); };
    const offerSubs = () => {
      const dimension = controls.get("dimension").value;
      const offered = controls.get("sub");
      for (const option of offered.options) {
        const other = Boolean(dimension && option.value && option.dataset.dimension !== dimension);
        option.hidden = option.disabled = other;
        if (other && option.selected) offered.value = "";
      }
    };

    let matches = [];
    let first = 0; // of the page that is shown
    let search = 0; // the number of the latest one; an older one stops

    const count = (searching = false) => {
      list.setAttribute("aria-busy", String(searching));
      of("shown-count").textContent = String(matches.length);
      of("none-shown").hidden = matches.length > 0 || searching;
      pager.hidden = matches.length <= PAGE;
      of("range").textContent = `${first + 1}–${Math.min(first + PAGE, matches.length)} / ${matches.length}`;
      pager.querySelector("[data-act=before]").disabled = first === 0;
      pager.querySelector("[data-act=after]").disabled = first + PAGE >= matches.length;
    };
    const show = (from = 0) => {
      first = from;
      list.replaceChildren(...matches.slice(first, first + PAGE).map(rowOf));
      count();
    };
    const textOf = (dialogue) => {
      const found = [dialogue.id];
      const take = (value) => {
        if (typeof value === "string") found.push(value);
        else if (value && typeof value === "object") Object.values(value).forEach(take);
      };
      take({ ...dialogue, turns: dialogue.turns.map(({ result, others, blocked, ...texts }) => texts) });
      return found.join("\n").toLowerCase();
    };
    const searchFor = async (words, candidates) => {
      const mine = search;
      const byShard = new Map();
      for (const k of candidates) {
        const shard = shardOf(k);
        if (!byShard.has(shard)) byShard.set(shard, []);
        byShard.get(shard).push(k);
      }
      matches = [];
      show();
      const progress = of("progress");
      progress.hidden = false;
      progress.querySelector("progress").value = 0;
      let done = 0;
      for (const [shard, rows] of byShard) {
        of("progress-count").textContent = `${done} / ${byShard.size}`;
        count(true);
        let texts;
        try {
          texts = await load(nameOf(shard));
        } catch (error) {
          if (mine === search) of("said").replaceChildren(...t("读不到，请重新生成报告：", "cannot be read, write the report anew: "), error.message);
          texts = [];
        }
        if (mine !== search) return;
        for (const k of rows) {
          const dialogue = texts[k - index.starts[shard]];
          if (!dialogue) continue;
          const text = textOf(dialogue);
          if (!words.every((word) => text.includes(word))) continue;
          matches.push(k);
          if (matches.length > first && matches.length <= first + PAGE) list.append(rowOf(k));
        }
        done += 1;
        progress.querySelector("progress").value = done / byShard.size;
      }
      progress.hidden = true;
      count();
    };
    const apply = () => {
      search += 1;
      offerSubs();
      of("progress").hidden = true;
      of("said").replaceChildren();
      const wanted = Array.from(controls, ([name, control]) => [name, valueOf(control)]).filter(([name, value]) => value && name !== "text");
      const found = [];
      for (let k = 0; k < n; k += 1) if (wanted.every(([name, value]) => tests[name](k, value))) found.push(k);
      const words = valueOf(controls.get("text")).toLowerCase().split(/\s+/).filter(Boolean);
      if (words.length) return searchFor(words, found);
      matches = found;
      show();
      return undefined;
    };

    // Links: `#ID` opens a dialogue, `#any=0&sub=psychology` sets filters

    const rowsOf = new Map(Array.from({ length: n }, (_, k) => [anchorOf(k), k]));
    const openLinked = async () => {
      let id = "";
      try {
        id = decodeURIComponent(location.hash.slice(1));
      } catch {
        return; // a mistyped link
      }
      if (id.includes("=")) {
        reset();
        for (const [name, value] of new URLSearchParams(id)) if (controls.has(name)) set(controls.get(name), value);
        apply();
        return;
      }
      if (!id) return;
      const k = rowsOf.get(id);
      if (k === undefined) {
        of("said").replaceChildren(...t("没有这段对话：", "no such dialogue: "), id);
        return;
      }
      if (!matches.includes(k)) {
        reset();
        apply();
      }
      const from = Math.floor(matches.indexOf(k) / PAGE) * PAGE;
      if (from !== first) show(from);
      const made = list.querySelector(`[data-row="${k}"]`);
      await fill(made, k);
      made.open = true;
      // after layout: what stands above it has only an estimated height until it has been drawn
      requestAnimationFrame(() => {
        made.scrollIntoView({ block: "start" });
        made.querySelector("summary").focus({ preventScroll: true });
      });
    };

    let waiting = 0;
    for (const control of controls.values()) {
      if (control.type === "search") {
        control.addEventListener("input", () => {
          clearTimeout(waiting);
          list.setAttribute("aria-busy", "true");
          waiting = setTimeout(apply, SEARCH_DELAY_MS);
        });
      } else {
        control.addEventListener("change", apply);
      }
    }
    const turnTo = (from) => {
      show(from);
      list.scrollIntoView({ block: "start" });
    };
    const all = (open) => { for (const made of list.children) made.open = open; };
    const acts = {
      open: () => all(true),
      close: () => all(false),
      reset: () => { reset(); apply(); },
      before: () => turnTo(Math.max(first - PAGE, 0)),
      after: () => turnTo(first + PAGE),
    };
    document.addEventListener("click", (event) => {
      const act = event.target.closest("[data-act]");
      if (act) acts[act.dataset.act]();
      const cover = event.target.closest("[data-cover]");
      if (!cover) return;
      const open = cover.getAttribute("aria-expanded") !== "true";
      cover.setAttribute("aria-expanded", String(open));
      cover.nextElementSibling.hidden = !open;
    });
    addEventListener("hashchange", openLinked);
    addEventListener("pageshow", (event) => { if (event.persisted) apply(); });
    apply();
    openLinked();
    document.documentElement.dataset.ready = "yes";
  }).catch((error) => {
    of("said").replaceChildren(...t("读不到，请重新生成报告：", "cannot be read, write the report anew: "), error.message);
  });
})();
