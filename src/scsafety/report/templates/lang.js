"use strict";
// Chinese or English, one at a time: both stand in the page, its style hides one by data-lang of the root element.
(() => {
  const KEY = "scsafety-lang";
  const CODES = { zh: "zh-CN", en: "en" };
  const ATTRIBUTES = ["label", "placeholder", "aria-label", "title"]; // one of them has twins, or the end of the text
  const root = document.documentElement;
  const button = document.querySelector("[data-lang-switch]");
  const twins = document.querySelectorAll("[data-zh][data-en]");
  const links = Array.from(document.querySelectorAll("a[href]")).filter((link) =>
    /^(?![a-z][a-z0-9+.-]*:|[/#])[^?#]*\.html(?=[?#]|$)/i.test(link.getAttribute("href")),
  );

  const kept = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // a page opened as a file may have no storage
    }
  };
  const keep = (lang) => {
    try {
      localStorage.setItem(KEY, lang);
    } catch {
      // the links still carry it
    }
  };
  const carrying = (href, lang) => {
    const [, path, query, hash] = /^([^?#]*)(\?[^#]*)?(#.*)?$/s.exec(href);
    const given = new URLSearchParams(query);
    if (lang === "zh") given.delete("lang");
    else given.set("lang", lang);
    return path + (String(given) ? `?${given}` : "") + (hash || "");
  };

  let shown = "zh";
  const show = (lang) => {
    root.dataset.lang = lang;
    root.lang = CODES[lang];
    for (const element of twins) {
      const name = ATTRIBUTES.find((one) => element.hasAttribute(one));
      if (name) element.setAttribute(name, element.dataset[lang]);
      else element.textContent = element.textContent.slice(0, -element.dataset[shown].length) + element.dataset[lang];
    }
    shown = lang;
    for (const link of links) link.setAttribute("href", carrying(link.getAttribute("href"), lang));
    keep(lang);
    try {
      history.replaceState(history.state, "", carrying(location.href, lang));
    } catch {
      // an address that may not change only cannot be passed on
    }
  };

  const asked = new URLSearchParams(location.search).get("lang");
  const first = [asked, kept()].find((lang) => lang !== null && Object.hasOwn(CODES, lang));
  if (first) show(first);
  button.addEventListener("click", () => show(shown === "en" ? "zh" : "en"));
  addEventListener("pageshow", (event) => {
    const lang = kept();
    if (event.persisted && lang !== null && Object.hasOwn(CODES, lang)) show(lang); // switched on another page meanwhile
  });
  button.hidden = false;
})();
